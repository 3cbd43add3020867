package postgres

// HotStatements are the statements whose plans are tested.
var HotStatements = map[string]string{"ids": sqlIDs, "dense": sqlDense, "sparse": sqlSparse, "claim": sqlClaim, "settle": sqlSettle, "take": sqlTake,
	"settle_held": sqlSettleHeld}
