/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The filesystem: what a program sees of the mail model (src/mail/mail.h), read-only.
 *
 * fs/names.c    names of messages and back, pure; fs/names_maildir.c those of layout=maildir
 * fs/node.c     inode numbers: kind, folder, UID, and back
 * fs/attr.c     struct stat of nodes
 * fs/control.c  .mailtree/: status.json, errors.log, metrics, refresh
 * fs/ops.c      what each operation means, without FUSE: parks and answers through callbacks; ops_dir.c listings
 * fs/ops_maildir.c  the directories of layout=maildir
 * fs/task.c     a request that waits, answered once
 * fs/retry.c    the kernel's second try of a failed read fails like the first
 * fs/notify.c   the notifier thread: model events become kernel invalidations
 * fs/fuse_ops.c, fs/fuse_mount.c   the only ones that talk FUSE: requests and replies; the mount and its threads
 *
 * No node objects: an inode number is its own handle (folder number and UID), nothing is counted for it,
 * forget needs no work. Threads: FUSE's workers call in; parked requests are answered on the I/O loop's thread;
 * invalidations are sent by the notifier's thread alone.
 */
#pragma once

#include "src/base/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct mail;
struct fs;

struct fs_config {
	const char *mountpoint; /* absolute */
	const char *fsname;     /* shown by mount(8) as the source: ACCOUNT */
	bool names_uid;         /* names=uid */
	bool maildir;           /* layout=maildir */
	bool xattr;
	bool allow_other, allow_root;
	bool offline;
	uid_t uid; /* owner shown; the mounting user unless uid= */
	gid_t gid;
	mode_t umask; /* 0 unless umask= */
	bool debug;
};

/* Mounts. Needs no network. ERR_FAILED with libfuse's or the kernel's reason. */
int fs_new(struct mail *mail, const struct fs_config *config, struct fs **fs_out, struct error *err);
/* Serves until unmounted or fs_stop(). Returns 0, or a code. Signals INT, TERM and HUP are the caller's. */
int fs_run(struct fs *fs, struct error *err);
/* Any thread, async-signal-safe. */
void fs_stop(struct fs *fs);
/* Unmounts when still mounted. */
void fs_free(struct fs *fs);
