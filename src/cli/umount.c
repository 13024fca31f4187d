/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/base/loop.h"
#include "src/cli/command.h"
#include "src/cli/mounts.h"
#include "src/cli/output.h"
#include "src/cli/sockets.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "src/base/banned.h"

#define ENDING_MS 10000 /* for the mount's process, which writes its cache out */

struct search {
	const char *mountpoint;
	pid_t pid; /* 0 = not found */
};

static int on_mountpoint(void *ctx, const char *bytes, size_t length, struct error *err)
{
	struct search *search = ctx;
	cJSON *object = cJSON_ParseWithLength(bytes, length);
	const char *mountpoint = output_member_text(object, "mountpoint");
	int code = mountpoint && strcmp(mountpoint, search->mountpoint) == 0
	                   ? 0
	                   : error_set(err, ERR_FAILED, "another mountpoint");

	cJSON_Delete(object);
	return code;
}

static int ask_mountpoint(void *ctx, struct wire *wire, pid_t pid)
{
	struct search *search = ctx;
	const struct work_request request = {.command = WORK_MOUNTPOINT};
	const struct sink sink = {on_mountpoint, search};
	struct error err;
	bool answered;

	if (wire_send_request(wire, &request, &err) != 0 || wire_receive(wire, &sink, &answered, &err) != 0)
		return 0;
	search->pid = pid;
	return 1;
}

/* A descriptor that becomes readable when the mount's process has ended; -1 = unknown. */
static int process_open(const char *runtime_dir, const char *mountpoint, pid_t *pid_out)
{
	struct search search = {.mountpoint = mountpoint};
	struct sockets sockets;

	if (sockets_open(runtime_dir, false, &sockets, NULL) != 0)
		return -1;
	sockets_each(&sockets, NULL, ask_mountpoint, &search);
	sockets_close(&sockets);
	*pid_out = search.pid;
	return search.pid ? (int)syscall(SYS_pidfd_open, search.pid, 0) : -1;
}

static int process_wait(int fd, pid_t pid, const char *mountpoint, struct error *err)
{
	struct pollfd wait = {.fd = fd, .events = POLLIN};
	uint64_t until_ms = clock_ms() + ENDING_MS;
	int ready;

	if (fd < 0)
		return 0;
	do {
		uint64_t now_ms = clock_ms();

		ready = poll(&wait, 1, now_ms < until_ms ? (int)(until_ms - now_ms) : 0);
	} while (ready < 0 && errno == EINTR);
	close(fd);
	if (ready > 0)
		return 0;
	error_set(err, ERR_FAILED, "%s: unmounted, but its process %d is still ending", mountpoint, (int)pid);
	error_hint(err, "wait before you mount it again");
	return ERR_FAILED;
}

static int unmount_failed(const char *mountpoint, const char *why, struct error *err)
{
	if (!strstr(why, g_strerror(EBUSY)))
		return error_set(err, ERR_FAILED, "%s: %s", mountpoint, why);
	error_set(err, ERR_FAILED, "%s: busy: a program has a file open there, or works there", mountpoint);
	error_hint(err, "`fuser -vm %s` lists them", mountpoint);
	return ERR_FAILED;
}

static int unmount_by_helper(const char *mountpoint, struct error *err)
{
	const char *words[] = {"fusermount3", "-u", "--", mountpoint, NULL};
	g_autofree char *said = NULL;
	g_autoptr(GError) error = NULL;
	int status;

	if (!g_spawn_sync(NULL, (char **)words, NULL, G_SPAWN_SEARCH_PATH | G_SPAWN_STDOUT_TO_DEV_NULL, NULL, NULL,
		    NULL, &said, &status, &error)) {
		error_set(err, ERR_FAILED, "%s: %s", mountpoint, error->message);
		error_hint(err, "install fuse3");
		return ERR_FAILED;
	}
	if (g_spawn_check_wait_status(status, NULL))
		return 0;
	g_strchomp(said);
	return unmount_failed(mountpoint, *said ? said : "fusermount3 failed", err);
}

static int unmount(const char *mountpoint, struct error *err)
{
	if (geteuid() != 0)
		return unmount_by_helper(mountpoint, err);
	return umount2(mountpoint, UMOUNT_NOFOLLOW) == 0 ? 0 : unmount_failed(mountpoint, g_strerror(errno), err);
}

static int run(struct call *call, struct error *err)
{
	g_autofree char *mountpoint = NULL;
	g_autoptr(GPtrArray) mounts = mounts_list(MOUNTS_TABLE);
	pid_t pid = 0;
	int fd, code = call_parse(call, NULL, err);

	if (code == 0)
		code = mounts_resolve(call->arguments[0], &mountpoint, err);
	if (code != 0)
		return code;
	if (!mounts_find(mounts, mountpoint)) {
		error_set(err, ERR_FAILED, "%s: no mail is mounted there", mountpoint);
		error_hint(err, "`mailtree status` lists the mounts");
		return ERR_FAILED;
	}
	fd = process_open(call->places.runtime_dir, mountpoint, &pid);
	code = unmount(mountpoint, err);
	if (code == 0)
		return process_wait(fd, pid, mountpoint, err);
	if (fd >= 0)
		close(fd);
	return code;
}

const struct command command_umount = {
	.name = "umount",
	.arguments = "MOUNTPOINT",
	.summary = "unmount, and wait until the mount's process has ended",
	.description = "Also clears away what a mount left whose process has died.\n\n"
		       "Example:\n"
		       "  mailtree umount ~/Mail",
	.arguments_min = 1,
	.arguments_max = 1,
	.run = run,
};
