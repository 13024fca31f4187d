/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files that talk FUSE share: the mount. */
#pragma once

#define FUSE_USE_VERSION 314

#include "fs/control.h"
#include "fs/fill.h"
#include "fs/fs.h"
#include "fs/generated.h"
#include "fs/notify.h"
#include "fs/ops.h"
#include "fs/retry.h"
#include "fs/task.h"

#include <fuse_lowlevel.h>
#include <stdatomic.h>

#define FS_WORKERS_MAX 16u

struct fs_worker {
	struct fs *fs;
	pthread_t thread;
	struct fuse_buf buffer;
};

struct fs {
	struct mail *mail;
	char *mountpoint;
	struct ops ops;
	struct tasks tasks;
	struct retries retries;
	struct looks looks;
	struct control *control;
	struct generated *generated;
	struct notify *notify;
	struct fill *fill;
	struct fuse_session *session;
	bool xattr;
	atomic_bool init_pending; /* the INIT reply, to be corrected, hasn't been written yet */
	int wake_fd;              /* eventfd: stop, or the session ended */
	atomic_int device_errno;  /* the device failed */
	struct fs_worker workers[FS_WORKERS_MAX];
	unsigned workers_count;
	pthread_mutex_t turn_lock; /* guards the two below */
	pthread_cond_t turn;       /* nobody listens */
	bool listening; /* a worker waits for the kernel's next request, or does something short before it does */
	bool closing;   /* no worker has to listen any more */
};

/* The operations of a mount with these settings; userdata is its struct fs. */
void fuse_ops_fill(const struct fs *fs, struct fuse_lowlevel_ops *ops_out);
extern const struct notify_sink fuse_ops_sink;
void fuse_ops_store(void *ctx, uint64_t ino, GBytes *bytes); /* fill_store_fn */
