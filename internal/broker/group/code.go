package group

import "strconv"

// Code is an error code of Kafka's protocol guide, "Error Codes"; the names are its own.
type Code int16

// The codes that a coordinator answers with.
const (
	None                      Code = 0
	OffsetMetadataTooLarge    Code = 12 // the text beside an offset is longer than Config.MetadataBytes
	IllegalGeneration         Code = 22 // the member speaks of a generation that is not the group's
	InconsistentGroupProtocol Code = 23 // no way of assignment that all members know, or another kind of group
	InvalidGroupID            Code = 24 // a group needs a name
	UnknownMemberID           Code = 25 // no such member: it was removed, or the group is gone
	InvalidSessionTimeout     Code = 26 // outside of Config.MinSession to Config.MaxSession
	RebalanceInProgress       Code = 27 // the member is to join again
	InvalidCommitOffsetSize   Code = 28 // offsets of all groups would take more than Config.Bytes
	NonEmptyGroup             Code = 68 // a group with members is not deleted
	GroupIDNotFound           Code = 69 // no such group
	MemberIDRequired          Code = 79 // join again with the id that comes with this (KIP-394)
	GroupMaxSizeReached       Code = 81 // Config.Members, Config.Groups or Config.Bytes
	FencedInstanceID          Code = 82 // another process has joined under this instance id (KIP-345)
	GroupSubscribedToTopic    Code = 86 // offsets of a topic that is being consumed are not deleted (KIP-496)
)

var codeNames = map[Code]string{None: "NONE", OffsetMetadataTooLarge: "OFFSET_METADATA_TOO_LARGE", IllegalGeneration: "ILLEGAL_GENERATION",
	InconsistentGroupProtocol: "INCONSISTENT_GROUP_PROTOCOL", InvalidGroupID: "INVALID_GROUP_ID", UnknownMemberID: "UNKNOWN_MEMBER_ID",
	InvalidSessionTimeout: "INVALID_SESSION_TIMEOUT", RebalanceInProgress: "REBALANCE_IN_PROGRESS", InvalidCommitOffsetSize: "INVALID_COMMIT_OFFSET_SIZE",
	NonEmptyGroup: "NON_EMPTY_GROUP", GroupIDNotFound: "GROUP_ID_NOT_FOUND", MemberIDRequired: "MEMBER_ID_REQUIRED",
	GroupMaxSizeReached: "GROUP_MAX_SIZE_REACHED", FencedInstanceID: "FENCED_INSTANCE_ID", GroupSubscribedToTopic: "GROUP_SUBSCRIBED_TO_TOPIC"}

func (c Code) String() string {
	if s := codeNames[c]; s != "" {
		return s
	}
	return strconv.Itoa(int(c))
}
