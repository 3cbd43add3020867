package testservices

// The limits of the nodes: 512 MiB are far more than the tests use, and no disk of a machine that runs tests is that full.
const (
	rabbitMemory = "512MiB"
	rabbitDisk   = "50MB"
)

// AddUser makes a user who may do everything in a virtual host.
func (r *Rabbit) AddUser(name, password, vhost string) error {
	if _, err := r.Ctl("add_user", name, password); err != nil {
		return err
	}
	return r.Grant(name, vhost, ".*", ".*", ".*")
}

// Grant sets what a user may configure, write and read in a virtual host: regular expressions on names, "" is nothing.
func (r *Rabbit) Grant(name, vhost, configure, write, read string) error {
	_, err := r.Ctl("set_permissions", "-p", vhost, name, configure, write, read)
	return err
}

// ChangePassword changes a user's password; connections that are open stay.
func (r *Rabbit) ChangePassword(name, password string) error {
	_, err := r.Ctl("change_password", name, password)
	return err
}

// DeleteUser deletes a user; the server closes the user's connections.
func (r *Rabbit) DeleteUser(name string) error {
	_, err := r.Ctl("delete_user", name)
	return err
}

// AddVhost makes a virtual host.
func (r *Rabbit) AddVhost(name string) error {
	_, err := r.Ctl("add_vhost", name)
	return err
}

// SetPolicy sets a policy on the queues of the virtual host "/" whose names match.
func (r *Rabbit) SetPolicy(name, pattern, definition string) error {
	_, err := r.Ctl("set_policy", "--apply-to", "queues", name, pattern, definition)
	return err
}

// MemoryAlarm raises or ends the alarm "low on memory" of the first node that is up: the server takes nothing more from connections that publish.
func (r *Rabbit) MemoryAlarm(on bool) error {
	limit := rabbitMemory
	if on {
		limit = "1"
	}
	_, err := r.Ctl("set_vm_memory_high_watermark", "absolute", limit)
	return err
}

// DiskAlarm raises or ends the alarm "low on disk" likewise.
func (r *Rabbit) DiskAlarm(on bool) error {
	limit := rabbitDisk
	if on {
		limit = "999999GB"
	}
	_, err := r.Ctl("set_disk_free_limit", limit)
	return err
}

// Sync saves what the nodes that are up would save within a second. Whoever kills a node soon after making a quorum queue calls it before: RabbitMQ 3.10 writes
// down late where a new queue keeps its log, and a queue whose node is killed before comes back empty or not at all, with what it had confirmed.
func (r *Rabbit) Sync() error {
	for _, n := range r.nodes {
		if !n.serving() {
			continue
		}
		if _, err := r.CtlOn(n.number, "eval", "[dets:sync(T) || T <- dets:all()]."); err != nil {
			return err
		}
	}
	return nil
}
