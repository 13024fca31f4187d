/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What each operation means, without FUSE. Results are 0, MAIL_PARKED (call again when the waiter is done), or
 * -errno. Any thread.
 *
 * lookup and readdir answer from memory; only a tree or a folder that was never loaded makes a lookup wait. Checks for
 * what is new happen in ops_opendir(), so a listing fails before its first entry or is complete.
 */
#pragma once

#include "fs/attr.h"
#include "fs/control.h"
#include "fs/looks.h"
#include "src/mail/mail.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define OPS_NAME_BYTES_MAX 255u
#define OPS_XATTR_BYTES_MAX 4096u
/* How long the kernel may believe us: what changes is invalidated explicitly (notify.h). */
#define OPS_CACHE_SECONDS 86400.0

struct generated;

struct ops {
	struct mail *mail;           /* borrowed */
	struct control *control;     /* borrowed */
	struct generated *generated; /* borrowed */
	struct looks *looks;         /* borrowed; used where sizes are trusted */
	struct attr_config attr;
	bool names_uid;
	bool maildir;
	bool sizes_trusted; /* what the server says of a size is told as the truth; open isn't asked */
	uid_t mounter;      /* may read the control files, as may attr.uid and root */
};

/* A code of the model as a result of these functions. */
int ops_result(int code);
/* Whether the control files answer this user. */
bool ops_may_control(const struct ops *ops, uid_t caller);

struct ops_entry {
	uint64_t nodeid; /* 0: there is no such name */
	struct stat stat;
	double entry_timeout, attr_timeout; /* seconds */
};

int ops_lookup(struct ops *ops, uint64_t parent, const char *name, uid_t caller, struct mail_waiter *waiter,
	struct ops_entry *entry_out);
/* g_free() the target. */
int ops_readlink(struct ops *ops, uint64_t ino, char **target_out);
int ops_getattr(struct ops *ops, uint64_t ino, struct stat *stat_out, double *timeout_out);
/*
 * Before it. With layout=maildir what stat shows may have to be asked of the server. And where open isn't asked, who
 * has a text open is told how long it is (looks.h). `is_open`: the kernel says so.
 */
int ops_stat_wait(struct ops *ops, uint64_t ino, bool is_open, struct mail_waiter *waiter);
/* False: ops_stat_wait() does nothing. */
bool ops_stat_may_wait(const struct ops *ops, uint64_t ino, bool is_open);
/* The kernel has dropped `lookups` of those that ops_lookup() gave it. */
void ops_forget(struct ops *ops, uint64_t ino, uint64_t lookups);

/*
 * Size of what reading will give; UINT64_MAX for a control file. Where sizes are trusted it isn't called.
 *
 * The kernel keeps a message's attributes, an estimated size too: without them `ls -l` of 100,000 messages asks
 * 100,000 times. So whoever stats the file after this sees the size that was told here only if the caller takes back
 * what the kernel may have kept, unless ops_size_was_told() and the notifier has told all there was.
 */
int ops_open(struct ops *ops, uint64_t ino, uid_t caller, struct mail_waiter *waiter, uint64_t *size_out);
/* No other size of this message was told in this mount. */
bool ops_size_was_told(struct ops *ops, uint64_t ino, uint64_t size);

/* What a read gives: memory or a piece of a file. */
struct ops_data {
	struct mail_slice slice;
	GBytes *bytes; /* owner of slice.memory of a control file, else NULL */
	bool settles;  /* the reader is to get it when the kernel knows of all changes until now */
};
void ops_data_fini(struct ops_data *data);
/*
 * `told_size`: what open said. UINT64_MAX where it wasn't asked: becomes what stat says, and stays that for the calls
 * after a wait, which may have shown it to be wrong.
 */
int ops_read(struct ops *ops, uint64_t ino, uint64_t offset, size_t length, uint64_t *told_size,
	struct mail_waiter *waiter, struct ops_data *data_out);

/* Checks for what is new. `handle_out`: for ops_readdir(). */
int ops_opendir(struct ops *ops, uint64_t ino, uid_t caller, struct mail_waiter *waiter, uint64_t *handle_out);
/* Whether changes of this directory's listing are told, so that the kernel may keep it. */
bool ops_listing_is_told(struct ops *ops, uint64_t ino);
struct ops_dirent {
	const char *name;
	struct stat stat;              /* without `entry` only st_ino and the type in st_mode */
	const struct ops_entry *entry; /* NULL: the kernel shall look it up if it wants more */
	off_t next; /* where a listing goes on behind it: from number or UID, never from a position */
};
/* False: no room; it will be asked for again. */
typedef bool (*ops_dirent_fn)(void *ctx, const struct ops_dirent *dirent);
/*
 * Entries behind `offset`. `expected`: about how many the caller has room for. -ESTALE: the listing isn't known any
 * more or the messages are others than at opendir; what was listed is no part of the listing of now.
 */
int ops_readdir(
	struct ops *ops, uint64_t ino, uint64_t handle, off_t offset, size_t expected, ops_dirent_fn fn, void *ctx);

/* Of an entry without more, and of the dots; for those who list. The first offset behind the dots is the latter's. */
#define OPS_OFFSET_DOT 1
#define OPS_OFFSET_DOTDOT 2
bool ops_emit(ops_dirent_fn fn, void *ctx, const char *name, uint64_t ino, mode_t type, off_t next);
bool ops_emit_dots(uint64_t ino, uint64_t parent_ino, off_t offset, ops_dirent_fn fn, void *ctx);

void ops_statfs(struct ops *ops, struct statvfs *statvfs_out);

/* From the local index. value_out: g_free it. -ENODATA for a name that isn't ours. */
int ops_getxattr(struct ops *ops, uint64_t ino, const char *name, char **value_out);
/* Names of those that it has, each with its NUL. g_free it. */
int ops_listxattr(struct ops *ops, uint64_t ino, char **names_out, size_t *length_out);
