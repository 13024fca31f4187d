/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/cli/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/base/banned.h"

/* Written at once: below PIPE_BUF. */
struct report {
	int code;
	struct error err;
};
G_STATIC_ASSERT(sizeof(struct report) <= 4096);

/* The parent. */
static int report_wait(int fd, pid_t child, struct error *err)
{
	struct report report;
	ssize_t got;
	int status = 0;

	do
		got = read(fd, &report, sizeof(report));
	while (got < 0 && errno == EINTR);
	close(fd);
	if (got == (ssize_t)sizeof(report)) {
		error_copy(err, &report.err);
		return report.code;
	}
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		continue;
	if (WIFSIGNALED(status))
		return error_set(err, ERR_FAILED, "mount: its process died of signal %d", WTERMSIG(status));
	return error_set(err, ERR_FAILED, "mount: its process ended with status %d", WEXITSTATUS(status));
}

int daemon_fork(struct daemon *daemon, struct error *err)
{
	int ends[2];
	pid_t child;

	*daemon = (struct daemon){.report_fd = -1};
	if (pipe2(ends, O_CLOEXEC) != 0)
		return error_set(err, ERR_FAILED, "mount: %s", g_strerror(errno));
	child = fork();
	if (child < 0) {
		close(ends[0]);
		close(ends[1]);
		return error_set(err, ERR_FAILED, "mount: fork: %s", g_strerror(errno));
	}
	if (child > 0) {
		close(ends[1]);
		return report_wait(ends[0], child, err);
	}
	close(ends[0]);
	*daemon = (struct daemon){true, ends[1]};
	setsid();
	if (chdir("/") != 0)
		return error_set(err, ERR_FAILED, "mount: /: %s", g_strerror(errno));
	return 0;
}

static void detach(void)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (int standard = STDIN_FILENO; fd >= 0 && standard <= STDERR_FILENO; standard++)
		dup2(fd, standard);
	if (fd > STDERR_FILENO)
		close(fd);
}

bool daemon_report(struct daemon *daemon, int code, const struct error *err)
{
	struct report report = {.code = code};
	bool told;

	if (code != 0)
		error_copy(&report.err, err);
	/* before the parent goes on: what reads the output of `mailtree mount` is to see its end */
	if (code == 0)
		detach();
	told = write(daemon->report_fd, &report, sizeof(report)) == (ssize_t)sizeof(report);
	close(daemon->report_fd);
	daemon->report_fd = -1;
	return told;
}
