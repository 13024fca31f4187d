/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests in, replies out. What they mean is in ops.h; how they wait, in task.h. */
#include "fs/fuse_fs.h"

#include "fs/node.h"
#include "src/base/block.h"
#include "src/base/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/base/banned.h"

/*
 * The kernel's default of 12 asynchronous requests is one mailbox walk: further readers, of cached files too, would
 * wait for the server behind it.
 */
#define BACKGROUND_MAX 1024u
#define LISTING_BYTES_MAX (128u * 1024u)
#define PLUS_ENTRY_BYTES 256u  /* about what an entry takes in a listing with attributes, */
#define PLAIN_ENTRY_BYTES 128u /* and without: for how many messages are asked of the model at once */

struct request {
	struct task task; /* must be first */
	struct fs *fs;
	fuse_req_t req;
	uint64_t ino;
	void (*answer)(struct request *request); /* replies, and frees the request */
	char *name;
	struct fuse_file_info fi;
	struct ops_entry entry;
	bool is_open;  /* of a getattr: the kernel says so */
	bool opens;    /* the filler knows */
	uint64_t size; /* of an open file, as its reader was told */
	off_t offset;
	size_t length;
	struct ops_data data;
};

static struct fs *fs_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

/* ---- waiting ---- */

static void interrupt(fuse_req_t req, void *data)
{
	struct request *request = data;

	task_interrupt(&request->task);
}

static void request_park(struct task *task)
{
	struct request *request = (struct request *)task;

	fuse_req_interrupt_func(request->req, interrupt, request);
}

static void request_free(struct request *request)
{
	g_free(request->name);
	g_free(request);
}

static void request_finish(struct task *task, int result)
{
	struct request *request = (struct request *)task;

	/* Returns when an interrupt that is under way has let go of the request. */
	if (task->listed)
		fuse_req_interrupt_func(request->req, NULL, NULL);
	if (result == 0) {
		request->answer(request);
		return;
	}
	if (request->opens)
		fill_released(request->fs->fill, request->ino);
	fuse_reply_err(request->req, -result);
	request_free(request);
}

static struct request *request_new(
	fuse_req_t req, fuse_ino_t ino, int (*step)(struct task *task), void (*answer)(struct request *request))
{
	struct request *request = g_new0(struct request, 1);

	request->fs = fs_of(req);
	request->req = req;
	request->ino = ino;
	request->answer = answer;
	request->task.step = step;
	request->task.park = request_park;
	request->task.finish = request_finish;
	request->task.waiter.pid = fuse_req_ctx(req)->pid;
	return request;
}

static void request_run(struct request *request)
{
	task_run(&request->fs->tasks, &request->task);
}

/* ---- replies' memory ---- */

/* A thread's buffer for one reply: a fresh one of this size would be mapped and unmapped for each. */
struct reply_buffer {
	size_t size;
	char bytes[];
};
static GPrivate reply_buffers = G_PRIVATE_INIT(g_free);

static char *reply_buffer(size_t size)
{
	struct reply_buffer *buffer = g_private_get(&reply_buffers);

	if (!buffer || buffer->size < size) {
		size_t room = MAX(size, LISTING_BYTES_MAX);

		buffer = g_malloc(sizeof(*buffer) + room);
		buffer->size = room;
		g_private_replace(&reply_buffers, buffer);
	}
	return buffer->bytes;
}

/* ---- names and attributes ---- */

static int step_lookup(struct task *task)
{
	struct request *request = (struct request *)task;

	return ops_lookup(&request->fs->ops, request->ino, request->name, fuse_req_ctx(request->req)->uid,
		&task->waiter, &request->entry);
}

static struct fuse_entry_param entry_param(const struct ops_entry *entry)
{
	return (struct fuse_entry_param){
		.ino = entry->nodeid,
		.attr = entry->stat,
		.attr_timeout = entry->attr_timeout,
		.entry_timeout = entry->entry_timeout,
	};
}

static void answer_lookup(struct request *request)
{
	struct fuse_entry_param param = entry_param(&request->entry);

	if (param.ino == NODE_TEXT_ROOT)
		notify_mirror_texts(request->fs->notify);
	/* A reply that nobody takes is a lookup that the kernel will never forget. */
	if (fuse_reply_entry(request->req, &param) != 0)
		ops_forget(&request->fs->ops, param.ino, 1);
	request_free(request);
}

static void do_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct request *request = request_new(req, parent, step_lookup, answer_lookup);

	/* what is generated may have to be made; a control file is asked of the loop */
	if (parent & NODE_GENERATED)
		block_ahead();
	request->name = g_strdup(name);
	request_run(request);
}

static void do_forget(fuse_req_t req, fuse_ino_t ino, uint64_t lookups)
{
	ops_forget(&fs_of(req)->ops, ino, lookups);
	fuse_reply_none(req);
}

static void do_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < count; i++)
		ops_forget(&fs_of(req)->ops, forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(req);
}

static void reply_getattr(fuse_req_t req, fuse_ino_t ino, bool is_open)
{
	struct stat attributes;
	double timeout;
	int result = ops_getattr(&fs_of(req)->ops, ino, &attributes, &timeout);

	/* An open file's path can't be walked again. */
	if (result == -ESTALE && is_open)
		result = -ENOENT;
	if (result == 0)
		fuse_reply_attr(req, &attributes, timeout);
	else
		fuse_reply_err(req, -result);
}

static int step_getattr(struct task *task)
{
	struct request *request = (struct request *)task;

	return ops_stat_wait(&request->fs->ops, request->ino, request->is_open, &task->waiter);
}

static void answer_getattr(struct request *request)
{
	reply_getattr(request->req, request->ino, request->is_open);
	request_free(request);
}

static void do_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct request *request;

	if (!ops_stat_may_wait(&fs_of(req)->ops, ino, fi != NULL)) {
		reply_getattr(req, ino, fi != NULL);
		return;
	}
	request = request_new(req, ino, step_getattr, answer_getattr);
	request->is_open = fi != NULL;
	request_run(request);
}

static void do_readlink(fuse_req_t req, fuse_ino_t ino)
{
	g_autofree char *target = NULL;
	int result = ops_readlink(&fs_of(req)->ops, ino, &target);

	if (result == 0)
		fuse_reply_readlink(req, target);
	else
		fuse_reply_err(req, -result);
}

static void do_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct statvfs statvfs;

	ops_statfs(&fs_of(req)->ops, &statvfs);
	fuse_reply_statfs(req, &statvfs);
}

/* ---- content ---- */

/* The kernel asks for them again. This one form of invalidation takes no lock that a request may hold. */
static void attributes_expire(struct fs *fs, uint64_t ino)
{
	fuse_lowlevel_notify_inval_inode(fs->session, ino, -1, 0);
}

static int step_open(struct task *task)
{
	struct request *request = (struct request *)task;

	return ops_open(
		&request->fs->ops, request->ino, fuse_req_ctx(request->req)->uid, &task->waiter, &request->size);
}

static void answer_open(struct request *request)
{
	struct fs *fs = request->fs;

	/* A size that is another than what the kernel was told may still be on its way to it. */
	if (request->size != UINT64_MAX &&
		!(ops_size_was_told(&fs->ops, request->ino, request->size) && notify_is_idle(fs->notify))) {
		attributes_expire(fs, request->ino);
		notify_size_told(fs->notify, request->ino);
	}
	request->fi.fh = request->size;
	request->fi.keep_cache = 1;
	request->fi.noflush = 1;
	/* whose open() was interrupted never releases */
	if (fuse_reply_open(request->req, &request->fi) == -ENOENT)
		fill_released(fs->fill, request->ino);
	request_free(request);
}

static void do_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	fill_released(fs_of(req)->fill, ino);
	fuse_reply_err(req, 0);
}

static void do_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct request *request;

	if ((fi->flags & O_ACCMODE) != O_RDONLY) {
		fuse_reply_err(req, EROFS);
		return;
	}
	if (fs_of(req)->ops.sizes_trusted) {
		/* For all files of this mount: the kernel won't ask again. */
		fuse_reply_err(req, ENOSYS);
		return;
	}
	request = request_new(req, ino, step_open, answer_open);
	request->fi = *fi;
	request->opens = true;
	fill_opened(request->fs->fill, ino);
	request_run(request);
}

static int step_read(struct task *task)
{
	struct request *request = (struct request *)task;

	return ops_read(&request->fs->ops, request->ino, (uint64_t)request->offset, request->length, &request->size,
		&task->waiter, &request->data);
}

static bool read_fully(int fd, uint64_t offset, char *bytes, size_t length)
{
	while (length) {
		ssize_t got = pread(fd, bytes, length, (off_t)offset);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		bytes += got;
		offset += (uint64_t)got;
		length -= (size_t)got;
	}
	return true;
}

static void reply_read(void *data)
{
	struct request *request = data;
	const struct mail_slice *slice = &request->data.slice;

	if (slice->memory || !slice->length) {
		fuse_reply_buf(request->req, slice->memory, slice->length);
	} else {
		/* Mails are small: one copy costs less than the three calls of a splice. */
		char *bytes = reply_buffer(slice->length);

		block_ahead();
		if (read_fully(slice->fd, slice->fd_offset, bytes, slice->length))
			fuse_reply_buf(request->req, bytes, slice->length);
		else
			fuse_reply_err(request->req, EIO);
	}
	ops_data_fini(&request->data);
	request_free(request);
}

static void answer_read(struct request *request)
{
	/* Who asked for a refresh is told that it is done when the kernel shows it, too. */
	if (!request->data.settles || !notify_then(request->fs->notify, reply_read, request))
		reply_read(request);
}

static void finish_read(struct task *task, int result)
{
	struct request *request = (struct request *)task;

	/* What failed may be the size: whoever tries again must see the right one, and at once. */
	if (result == -EIO)
		attributes_expire(request->fs, request->ino);
	if (result < 0 && result != -EINTR)
		retries_remember(&request->fs->retries, request->ino, task->waiter.pid, -result, clock_ms());
	request_finish(task, result);
}

static void do_read(fuse_req_t req, fuse_ino_t ino, size_t length, off_t offset, struct fuse_file_info *fi)
{
	struct request *request;
	int again = retries_take(&fs_of(req)->retries, ino, fuse_req_ctx(req)->pid, clock_ms());

	if (again) {
		fuse_reply_err(req, again);
		return;
	}
	request = request_new(req, ino, step_read, answer_read);
	request->task.finish = finish_read;
	request->offset = offset;
	request->length = length;
	/* The handle of a file that was opened is the size that its reader was told. */
	request->size = request->fs->ops.sizes_trusted ? UINT64_MAX : fi->fh;
	request_run(request);
}

/* ---- directories ---- */

static int step_opendir(struct task *task)
{
	struct request *request = (struct request *)task;

	return ops_opendir(
		&request->fs->ops, request->ino, fuse_req_ctx(request->req)->uid, &task->waiter, &request->fi.fh);
}

static void answer_opendir(struct request *request)
{
	/*
	 * While changes are on their way to the kernel, or nobody will tell it of them, it must neither list what it
	 * remembers nor remember what it lists. Waiting for them instead could take as long as a lookup that the
	 * notifier waits for.
	 */
	bool is_settled = notify_is_idle(request->fs->notify) && ops_listing_is_told(&request->fs->ops, request->ino);

	request->fi.cache_readdir = is_settled;
	request->fi.keep_cache = is_settled;
	fuse_reply_open(request->req, &request->fi);
	request_free(request);
}

static void do_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct request *request = request_new(req, ino, step_opendir, answer_opendir);

	block_ahead();
	request->fi = *fi;
	request_run(request);
}

struct listing {
	fuse_req_t req;
	bool plus;
	char *bytes;
	size_t size, used;
};

static bool list_entry(void *ctx, const struct ops_dirent *dirent)
{
	struct listing *listing = ctx;
	char *at = listing->bytes + listing->used;
	size_t room = listing->size - listing->used;
	size_t needed;

	if (listing->plus) {
		struct fuse_entry_param param = {.attr = dirent->stat};

		if (dirent->entry)
			param = entry_param(dirent->entry);
		needed = fuse_add_direntry_plus(listing->req, at, room, dirent->name, &param, dirent->next);
	} else {
		needed = fuse_add_direntry(listing->req, at, room, dirent->name, &dirent->stat, dirent->next);
	}
	if (needed > room)
		return false;
	listing->used += needed;
	return true;
}

static void list_directory(
	fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, const struct fuse_file_info *fi, bool plus)
{
	size_t room = MIN(size, LISTING_BYTES_MAX);

	block_ahead();

	struct listing listing = {.req = req, .plus = plus, .bytes = reply_buffer(room), .size = room};
	int result = ops_readdir(&fs_of(req)->ops, ino, fi->fh, offset,
		room / (plus ? PLUS_ENTRY_BYTES : PLAIN_ENTRY_BYTES), list_entry, &listing);

	if (result == 0)
		fuse_reply_buf(req, listing.bytes, listing.used);
	else
		fuse_reply_err(req, -result);
}

static void do_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	list_directory(req, ino, size, offset, fi, false);
}

static void do_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	list_directory(req, ino, size, offset, fi, true);
}

/* ---- extended attributes ---- */

static void reply_xattr(fuse_req_t req, const char *bytes, size_t length, size_t size)
{
	if (!size)
		fuse_reply_xattr(req, length);
	else if (size < length)
		fuse_reply_err(req, ERANGE);
	else
		fuse_reply_buf(req, bytes, length);
}

static void do_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	g_autofree char *value = NULL;
	int result = ops_getxattr(&fs_of(req)->ops, ino, name, &value);

	if (result == 0)
		reply_xattr(req, value, strlen(value), size);
	else
		fuse_reply_err(req, -result);
}

static void do_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	g_autofree char *names = NULL;
	size_t length;
	int result = ops_listxattr(&fs_of(req)->ops, ino, &names, &length);

	if (result == 0)
		reply_xattr(req, names, length, size);
	else
		fuse_reply_err(req, -result);
}

/* ---- changes ---- */

/* The mount is read-only, so these come only when root has remounted it. */

static void do_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi)
{
	fuse_reply_err(req, EROFS);
}

static void do_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t device)
{
	fuse_reply_err(req, EROFS);
}

static void do_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	fuse_reply_err(req, EROFS);
}

/* unlink and rmdir */
static void do_remove(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	fuse_reply_err(req, EROFS);
}

static void do_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	fuse_reply_err(req, EROFS);
}

static void do_rename(
	fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t to_parent, const char *to_name, unsigned flags)
{
	fuse_reply_err(req, EROFS);
}

static void do_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
	fuse_reply_err(req, EROFS);
}

static void do_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	fuse_reply_err(req, EROFS);
}

static void do_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags)
{
	fuse_reply_err(req, EROFS);
}

static void do_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	fuse_reply_err(req, EROFS);
}

static void do_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned command, void *arg, struct fuse_file_info *fi,
	unsigned flags, const void *in, size_t in_size, size_t out_size)
{
	fuse_reply_err(req, ENOTTY);
}

/* ---- the connection ---- */

static void do_init(void *userdata, struct fuse_conn_info *conn)
{
	struct fs *fs = userdata;

	/* Asynchronous reads that wait get no interrupt: a program with a handler for SIGINT would hang in them. */
	conn->want &= ~FUSE_CAP_ASYNC_READ;
	/* Who lists mail goes on to stat or read it: attributes with every entry, not only with the first ones. */
	conn->want &= ~FUSE_CAP_READDIRPLUS_AUTO;
	conn->max_background = BACKGROUND_MAX;
	conn->congestion_threshold = BACKGROUND_MAX / 4 * 3;
	fs->init_pending = conn->want & FUSE_CAP_PARALLEL_DIROPS;
}

/*
 * What isn't here the kernel is told once that we don't have (ENOSYS) and never asks for again: flush, access and,
 * unless they were asked for, extended attributes.
 */
void fuse_ops_fill(const struct fs *fs, struct fuse_lowlevel_ops *ops_out)
{
	*ops_out = (struct fuse_lowlevel_ops){
		.init = do_init,
		.lookup = do_lookup,
		.forget = do_forget,
		.forget_multi = do_forget_multi,
		.getattr = do_getattr,
		.readlink = do_readlink,
		.statfs = do_statfs,
		.open = do_open,
		.release = do_release,
		.read = do_read,
		.opendir = do_opendir,
		.readdir = do_readdir,
		.readdirplus = do_readdirplus,
		.setattr = do_setattr,
		.mknod = do_mknod,
		.mkdir = do_mkdir,
		.unlink = do_remove,
		.rmdir = do_remove,
		.symlink = do_symlink,
		.rename = do_rename,
		.link = do_link,
		.create = do_create,
		.ioctl = do_ioctl,
	};
	if (fs->xattr) {
		ops_out->getxattr = do_getxattr;
		ops_out->listxattr = do_listxattr;
		ops_out->setxattr = do_setxattr;
		ops_out->removexattr = do_removexattr;
	}
}

/* ---- invalidations ---- */

static void sink_attributes(void *ctx, uint64_t ino)
{
	attributes_expire(ctx, ino);
}

static void sink_content(void *ctx, uint64_t ino)
{
	fuse_lowlevel_notify_inval_inode(((struct fs *)ctx)->session, ino, 0, 0);
}

void fuse_ops_store(void *ctx, uint64_t ino, GBytes *bytes)
{
	size_t length;
	const void *memory = g_bytes_get_data(bytes, &length);
	struct fuse_bufvec vector = FUSE_BUFVEC_INIT(length);

	vector.buf[0].mem = (void *)memory;
	fuse_lowlevel_notify_store(((struct fs *)ctx)->session, ino, 0, &vector, FUSE_BUF_NO_SPLICE);
}

static void sink_entry(void *ctx, uint64_t parent, const char *name)
{
	fuse_lowlevel_notify_inval_entry(((struct fs *)ctx)->session, parent, name, strlen(name));
}

static void sink_deleted(void *ctx, uint64_t parent, uint64_t child, const char *name)
{
	fuse_lowlevel_notify_delete(((struct fs *)ctx)->session, parent, child, name, strlen(name));
}

const struct notify_sink fuse_ops_sink = {
	.attributes = sink_attributes,
	.content = sink_content,
	.entry = sink_entry,
	.deleted = sink_deleted,
};
