/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The mount itself: options, reasons why it fails, the session's threads, the end. */
#include "fs/fuse_fs.h"

#include "src/base/block.h"
#include "src/base/log.h"

#include <errno.h>
#include <linux/fuse.h>
#include <mntent.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "src/base/banned.h"

#define FS_TYPE "fuse.mailtree"
#define FUSE_CONF "/etc/fuse.conf"
#define WORKERS_MIN 4u

/* ---- libfuse's words ---- */

/* While a mount is tried its messages are the reason, not log lines. No other thread uses libfuse then. */
static GString *reasons;

static void G_GNUC_PRINTF(2, 0) hear_libfuse(enum fuse_log_level level, const char *format, va_list args)
{
	g_autofree char *text = g_strdup_vprintf(format, args);

	g_strchomp(text);
	if (reasons)
		g_string_append_printf(reasons, "%s\n", text);
	else if (level <= FUSE_LOG_ERR)
		log_error("%s", text);
	else if (level <= FUSE_LOG_INFO)
		log_info("%s", text);
	else
		log_debug("%s", text);
}

/*
 * libfuse 3.14.0 wants FUSE_PARALLEL_DIROPS but leaves it out of the INIT reply: the kernel would serialise lookups and
 * listings of a directory, so that one which waits for a folder's first load blocks all others there.
 */
static ssize_t device_writev(int fd, struct iovec *iov, int count, void *userdata)
{
	struct fs *fs = userdata;
	const struct fuse_out_header *header = iov[0].iov_base;
	bool pending = true;

	if (count != 2 || iov[1].iov_len != sizeof(struct fuse_init_out) || !header->unique || header->error ||
		!atomic_compare_exchange_strong(&fs->init_pending, &pending, false))
		return writev(fd, iov, count);

	struct fuse_init_out reply;

	memcpy(&reply, iov[1].iov_base, sizeof(reply));
	reply.flags |= FUSE_PARALLEL_DIROPS;
	return writev(fd, (struct iovec[]){iov[0], {.iov_base = &reply, .iov_len = sizeof(reply)}}, 2);
}

static ssize_t device_read(int fd, void *bytes, size_t size, void *userdata)
{
	return read(fd, bytes, size);
}

static const struct fuse_custom_io device_io = {.writev = device_writev, .read = device_read};

/* ---- mounting ---- */

/* Type of what is mounted on exactly `path`, topmost; g_free it. NULL = nothing. */
static char *mounted_type(const char *path)
{
	char *type = NULL;
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	struct mntent entry;
	char line[8192];

	if (!mounts)
		return NULL;
	while (getmntent_r(mounts, &entry, line, sizeof(line))) {
		if (strcmp(entry.mnt_dir, path) != 0)
			continue;
		g_free(type);
		type = g_strdup(entry.mnt_type);
	}
	endmntent(mounts);
	return type;
}

static int check_mountpoint(const char *path, struct error *err)
{
	g_autofree char *type = mounted_type(path);
	struct stat stat_of_it;
	int cause = stat(path, &stat_of_it) != 0 ? errno : 0;

	if (cause == ENOTCONN || cause == ECONNABORTED) {
		error_set(err, ERR_FAILED, "%s: a mount is left there whose program has died", path);
		error_hint(err, "fusermount3 -u %s", path);
		return ERR_FAILED;
	}
	if (type && strcmp(type, FS_TYPE) == 0) {
		error_set(err, ERR_FAILED, "%s: is a mailtree mount already", path);
		error_hint(err, "fusermount3 -u %s", path);
		return ERR_FAILED;
	}
	if (cause) {
		error_set(err, ERR_FAILED, "%s: %s", path, g_strerror(cause));
		if (cause == ENOENT)
			error_hint(err, "mkdir -p %s", path);
		return ERR_FAILED;
	}
	if (!S_ISDIR(stat_of_it.st_mode))
		return error_set(err, ERR_FAILED, "%s: not a directory", path);
	return 0;
}

static bool others_allowed(void)
{
	g_autofree char *text = NULL;
	g_auto(GStrv) lines = NULL;

	if (geteuid() == 0)
		return true;
	if (!g_file_get_contents(FUSE_CONF, &text, NULL, NULL))
		return false;
	lines = g_strsplit(text, "\n", -1);
	for (char **line = lines; *line; line++) {
		if (strcmp(g_strstrip(*line), "user_allow_other") == 0)
			return true;
	}
	return false;
}

static int check_others(const struct fs_config *config, struct error *err)
{
	if ((!config->allow_other && !config->allow_root) || others_allowed())
		return 0;
	error_set(err, ERR_FAILED, "%s: needs user_allow_other in " FUSE_CONF,
		config->allow_other ? "allow_other" : "allow_root");
	error_hint(err, "ask the administrator to add that line, or mount without the option");
	return ERR_FAILED;
}

static struct fuse_session *session_new(struct fs *fs, const struct fs_config *config)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	struct fuse_lowlevel_ops operations;
	struct fuse_session *session = NULL;
	g_autofree char *fsname = g_strdup_printf("fsname=%s", config->fsname);
	char *options = NULL;

	fuse_ops_fill(fs, &operations);
	if (fuse_opt_add_opt(&options, "ro,nosuid,nodev,noatime,default_permissions,subtype=mailtree") == 0 &&
		fuse_opt_add_opt_escaped(&options, fsname) == 0 &&
		(!config->allow_other || fuse_opt_add_opt(&options, "allow_other") == 0) &&
		(config->allow_other || !config->allow_root || fuse_opt_add_opt(&options, "allow_root") == 0) &&
		(!config->debug || fuse_opt_add_opt(&options, "debug") == 0) &&
		fuse_opt_add_arg(&args, "mailtree") == 0 && fuse_opt_add_arg(&args, "-o") == 0 &&
		fuse_opt_add_arg(&args, options) == 0)
		session = fuse_session_new(&args, &operations, sizeof(operations), fs);
	free(options);
	fuse_opt_free_args(&args);
	return session;
}

/* fusermount3 and some of libfuse's own code write their reasons to standard error: it becomes part of `text`. */
static int mount_quietly(struct fs *fs, GString *text)
{
	int heard = memfd_create("stderr", MFD_CLOEXEC);
	int before = heard < 0 ? -1 : dup(STDERR_FILENO);
	char bytes[1024];
	ssize_t length;
	int result;

	if (before >= 0)
		dup2(heard, STDERR_FILENO);
	result = fuse_session_mount(fs->session, fs->mountpoint);
	if (before >= 0) {
		dup2(before, STDERR_FILENO);
		close(before);
	}
	if (heard < 0)
		return result;
	length = pread(heard, bytes, sizeof(bytes), 0);
	if (length > 0)
		g_string_append_len(text, bytes, length);
	close(heard);
	return result;
}

/* The last line is nearest to the cause; its "fuse:" or "fusermount3:" says nothing to a user. */
static int mount_failed(const struct fs *fs, const GString *text, struct error *err)
{
	g_auto(GStrv) lines = g_strsplit(text->str, "\n", -1);
	const char *reason = "";

	for (char **line = lines; *line; line++) {
		const char *colon = strstr(*line, ": ");

		if (!**line)
			continue;
		reason = colon && g_str_has_prefix(*line, "fuse") ? colon + 2 : *line;
	}
	error_set(err, ERR_FAILED, "%s: can't be mounted: %s", fs->mountpoint, *reason ? reason : "no reason given");
	if (access("/dev/fuse", F_OK) != 0)
		error_hint(err, "modprobe fuse");
	return ERR_FAILED;
}

static int mount_session(struct fs *fs, const struct fs_config *config, struct error *err)
{
	g_autoptr(GString) text = g_string_new(NULL);
	int result = -1;

	fuse_set_log_func(hear_libfuse);
	reasons = text;
	fs->session = session_new(fs, config);
	if (fs->session)
		result = mount_quietly(fs, text);
	reasons = NULL;
	if (result != 0)
		return mount_failed(fs, text, err);
	if (fuse_session_custom_io(fs->session, &device_io, fuse_session_fd(fs->session)) != 0)
		return error_set(err, ERR_FAILED, "%s: out of memory", fs->mountpoint);
	return 0;
}

int fs_new(struct mail *mail, const struct fs_config *config, struct fs **fs_out, struct error *err)
{
	struct fs *fs;
	int code = check_mountpoint(config->mountpoint, err);

	if (code == 0)
		code = check_others(config, err);
	if (code != 0)
		return code;

	fs = g_new0(struct fs, 1);
	fs->mail = mail;
	fs->mountpoint = g_strdup(config->mountpoint);
	fs->xattr = config->xattr;
	fs->control = control_new(mail, fs->mountpoint);
	fs->generated = generated_new();
	fs->ops = (struct ops){
		.mail = mail,
		.control = fs->control,
		.generated = fs->generated,
		.looks = &fs->looks,
		.attr = {.uid = config->uid, .gid = config->gid, .umask = config->umask},
		.names_uid = config->names_uid,
		.maildir = config->maildir,
		.sizes_trusted = mail_sizes_trusted(mail),
		.mounter = getuid(),
	};
	pthread_mutex_init(&fs->turn_lock, NULL);
	pthread_cond_init(&fs->turn, NULL);
	tasks_init(&fs->tasks, mail);
	retries_init(&fs->retries);
	looks_init(&fs->looks);
	fs->fill = fill_new(fuse_ops_store, fs);
	fs->notify = notify_new(mail, config->names_uid, config->maildir, &fuse_ops_sink, fs->fill, fs);
	fs->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fs->wake_fd < 0)
		code = error_set(err, ERR_FAILED, "eventfd: %s", g_strerror(errno));
	if (code == 0)
		code = mount_session(fs, config, err);
	if (code != 0) {
		fs_free(fs);
		return code;
	}
	*fs_out = fs;
	return 0;
}

/* ---- serving ---- */

void fs_stop(struct fs *fs)
{
	uint64_t one = 1;
	ssize_t written = write(fs->wake_fd, &one, sizeof(one));

	(void)written; /* can only fail when it has been woken often enough */
}

static _Thread_local bool is_listener;

/* False: the mount ends. */
static bool listen_in_turn(struct fs *fs)
{
	pthread_mutex_lock(&fs->turn_lock);
	while (!is_listener && fs->listening && !fs->closing)
		pthread_cond_wait(&fs->turn, &fs->turn_lock);
	fs->listening = is_listener = !fs->closing;
	pthread_mutex_unlock(&fs->turn_lock);
	return is_listener;
}

/* A request takes longer: the next worker listens. */
static void stop_listening(void *data)
{
	struct fs *fs = data;

	if (!is_listener)
		return;
	is_listener = false;
	pthread_mutex_lock(&fs->turn_lock);
	fs->listening = false;
	pthread_cond_signal(&fs->turn);
	pthread_mutex_unlock(&fs->turn_lock);
}

/*
 * As libfuse's own loop does it, but that one can't be woken by a program that wants to stop, and its cloned device
 * descriptors lose interrupts that overtake their request.
 */
static void *work(void *data)
{
	struct fs_worker *worker = data;
	struct fuse_session *session = worker->fs->session;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	block_hook_set(stop_listening, worker->fs);
	while (!fuse_session_exited(session) && listen_in_turn(worker->fs)) {
		pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
		int got = fuse_session_receive_buf(session, &worker->buffer);
		pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);

		if (got == -EINTR)
			continue;
		if (got < 0)
			atomic_store(&worker->fs->device_errno, -got);
		if (got <= 0)
			break;
		fuse_session_process_buf(session, &worker->buffer);
	}
	stop_listening(worker->fs);
	fs_stop(worker->fs);
	return NULL;
}

static bool workers_start(struct fs *fs)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned wanted = (unsigned)CLAMP(processors * 2, (long)WORKERS_MIN, (long)FS_WORKERS_MAX);
	sigset_t all, before;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	for (; fs->workers_count < wanted; fs->workers_count++) {
		struct fs_worker *worker = &fs->workers[fs->workers_count];

		worker->fs = fs;
		if (pthread_create(&worker->thread, NULL, work, worker) != 0)
			break;
		pthread_setname_np(worker->thread, "mailtree-fuse");
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return fs->workers_count > 0;
}

static void workers_stop(struct fs *fs)
{
	fuse_session_exit(fs->session);
	pthread_mutex_lock(&fs->turn_lock);
	fs->closing = true;
	pthread_cond_broadcast(&fs->turn);
	pthread_mutex_unlock(&fs->turn_lock);
	for (unsigned i = 0; i < fs->workers_count; i++)
		pthread_cancel(fs->workers[i].thread);
	for (unsigned i = 0; i < fs->workers_count; i++) {
		pthread_join(fs->workers[i].thread, NULL);
		free(fs->workers[i].buffer.mem);
	}
	fs->workers_count = 0;
}

static void wait_until_woken(struct fs *fs)
{
	struct pollfd waits = {.fd = fs->wake_fd, .events = POLLIN};

	while (poll(&waits, 1, -1) < 0 && errno == EINTR)
		continue;
}

int fs_run(struct fs *fs, struct error *err)
{
	int code = 0;

	if (!fill_start(fs->fill) || !notify_start(fs->notify) || !workers_start(fs))
		code = error_set(err, ERR_FAILED, "threads: %s", g_strerror(EAGAIN));
	else
		wait_until_woken(fs);

	/*
	 * In this order: what waits for the server is called off; the notifier and the filler may be waiting for a
	 * lock whose holder needs an answer, so they end while there is still somebody to answer; then the workers.
	 */
	tasks_stop(&fs->tasks);
	notify_stop(fs->notify);
	fill_stop(fs->fill);
	workers_stop(fs);
	tasks_stop(&fs->tasks);
	if (code == 0 && fs->device_errno)
		code = error_set(err, ERR_FAILED, "FUSE device: %s", g_strerror(fs->device_errno));
	return code;
}

void fs_free(struct fs *fs)
{
	if (!fs)
		return;
	if (fs->session) {
		fuse_session_unmount(fs->session);
		fuse_session_destroy(fs->session);
	}
	notify_free(fs->notify);
	fill_free(fs->fill);
	control_free(fs->control);
	generated_free(fs->generated);
	retries_fini(&fs->retries);
	looks_fini(&fs->looks);
	tasks_fini(&fs->tasks);
	pthread_cond_destroy(&fs->turn);
	pthread_mutex_destroy(&fs->turn_lock);
	if (fs->wake_fd >= 0)
		close(fs->wake_fd);
	g_free(fs->mountpoint);
	g_free(fs);
}
