/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/auth/helper.h"
#include "src/auth/auth.h"
#include "src/base/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/base/banned.h"

#define STDERR_KEPT_BYTES 4096u
/* What is left to a command between SIGTERM and SIGKILL. */
#define KILL_GRACE_MS 500u
/* How often a command is asked whether it has ended: seldom while it holds its output open. */
#define WAIT_OPEN_MS 50
#define WAIT_CLOSED_MS 5

extern char **environ;

struct child {
	pid_t pid;
	int out_fd, err_fd;
	bool have_line;   /* the first line is complete */
	bool line_cut;    /* it is longer than a token may be */
	size_t line_used; /* of `line` */
	size_t err_used;  /* of `err`, which holds the last bytes */
	char err[STDERR_KEPT_BYTES + 1];
	char line[AUTH_TOKEN_MAX + 1];
};

static int spawn(struct child *child, const struct auth_helper *helper, int out_w, int err_w)
{
	/* as git runs credential helpers: the shell sees COMMAND "$@" */
	g_autofree char *with_argument = helper->argument ? g_strconcat(helper->command, " \"$@\"", NULL) : NULL;
	char *argv[] = {(char *)"sh", (char *)"-c", with_argument ? with_argument : (char *)helper->command,
		(char *)"mailtree", (char *)helper->argument, NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none, defaults;
	int rc;

	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attributes);
	sigemptyset(&none);
	sigfillset(&defaults);
	/* our thread blocks all signals and mailtree ignores SIGPIPE: neither is for children */
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setsigdefault(&attributes, &defaults);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	rc = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	rc = rc ? rc : posix_spawn_file_actions_adddup2(&actions, out_w, STDOUT_FILENO);
	rc = rc ? rc : posix_spawn_file_actions_adddup2(&actions, err_w, STDERR_FILENO);
	rc = rc ? rc : posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
	rc = rc ? rc : posix_spawn(&child->pid, "/bin/sh", &actions, &attributes, argv, environ);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&actions);
	return rc;
}

static void line_append(struct child *child, const char *data, size_t length)
{
	const char *end = memchr(data, '\n', length);
	size_t wanted = end ? (size_t)(end - data) : length;

	if (child->have_line)
		return;
	child->have_line = end != NULL;
	if (wanted > AUTH_TOKEN_MAX - child->line_used) {
		child->line_cut = true;
		wanted = AUTH_TOKEN_MAX - child->line_used;
	}
	memcpy(child->line + child->line_used, data, wanted);
	child->line_used += wanted;
}

static void err_append(struct child *child, const char *data, size_t length)
{
	size_t keep = MIN(length, STDERR_KEPT_BYTES), spare = STDERR_KEPT_BYTES - keep;

	if (child->err_used > spare) {
		memmove(child->err, child->err + child->err_used - spare, spare);
		child->err_used = spare;
	}
	memcpy(child->err + child->err_used, data + length - keep, keep);
	child->err_used += keep;
}

/* Reads what is there; closes the descriptor at its end. */
static void drain(struct child *child, int *fd, void (*append)(struct child *, const char *, size_t))
{
	char buffer[4096];
	ssize_t got = 0;

	/* one buffer a turn: an endless writer must not keep us from the deadline */
	if (*fd >= 0) {
		got = read(*fd, buffer, sizeof(buffer));
		if (got > 0)
			append(child, buffer, (size_t)got);
		else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
			close(*fd);
			*fd = -1;
		}
	}
	secret_wipe(buffer, sizeof(buffer));
}

/* True when it has ended. */
static bool reap(struct child *child, int *status_out)
{
	pid_t got = waitpid(child->pid, status_out, WNOHANG);

	if (got == 0 || (got < 0 && errno == EINTR))
		return false;
	/* ECHILD: whoever started us ignores SIGCHLD; the output has to tell */
	if (got < 0)
		*status_out = 0;
	return true;
}

/* Has ended, but keeps its number: nobody else's group can have it yet. */
static bool is_zombie(pid_t pid)
{
	siginfo_t info = {0};

	return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == pid;
}

static void child_kill(const struct child *child)
{
	uint64_t until_ms = clock_ms() + KILL_GRACE_MS;
	int status;

	kill(-child->pid, SIGTERM);
	while (!is_zombie(child->pid) && clock_ms() < until_ms)
		poll(NULL, 0, WAIT_CLOSED_MS);
	/* also what is left of the group after its leader */
	kill(-child->pid, SIGKILL);
	while (waitpid(child->pid, &status, 0) < 0 && errno == EINTR)
		;
}

/* Until it ends. What its own children still hold open is not waited for. */
static int child_wait(struct child *child, const struct auth_helper *helper, int *status_out, struct error *err)
{
	uint64_t until_ms = clock_ms() + helper->timeout_ms;

	for (;;) {
		bool open = child->out_fd >= 0 || child->err_fd >= 0;
		struct pollfd fds[] = {
			{.fd = child->out_fd, .events = POLLIN},
			{.fd = child->err_fd, .events = POLLIN},
			{.fd = helper->cancel_fd, .events = POLLIN},
		};

		if (reap(child, status_out))
			break;
		poll(fds, G_N_ELEMENTS(fds), open ? WAIT_OPEN_MS : WAIT_CLOSED_MS);
		if (fds[0].revents)
			drain(child, &child->out_fd, line_append);
		if (fds[1].revents)
			drain(child, &child->err_fd, err_append);
		if (fds[2].revents) {
			child_kill(child);
			return error_set(err, ERR_INTERRUPTED, "given up");
		}
		if (clock_ms() >= until_ms) {
			child_kill(child);
			return error_set(err, ERR_TIMEOUT, "didn't end within %u s",
				(unsigned)(helper->timeout_ms + 999) / 1000);
		}
	}
	/* a pipe holds 64 KiB; more can be in it only while somebody goes on writing */
	for (int i = 0; i < 16; i++) {
		drain(child, &child->out_fd, line_append);
		drain(child, &child->err_fd, err_append);
	}
	return 0;
}

static const char *last_words(struct child *child)
{
	char *line;

	child->err[child->err_used] = '\0';
	g_strchomp(child->err);
	line = strrchr(child->err, '\n');
	return line ? line + 1 : child->err;
}

static int child_failed(struct child *child, int status, struct error *err)
{
	/* known as long as the text is made: a script that traces itself puts it on standard error too */
	struct secret *said = secret_new(child->line, child->line_used);
	const char *words = last_words(child);
	const char *colon = *words ? ": " : "";

	if (WIFSIGNALED(status))
		error_set(err, ERR_SIGN_IN, "ended by signal %d%s%s", WTERMSIG(status), colon, words);
	else if (WEXITSTATUS(status) != 0)
		error_set(err, ERR_SIGN_IN, "exit status %d%s%s", WEXITSTATUS(status), colon, words);
	else
		error_set(err, ERR_SIGN_IN, "printed nothing%s%s", colon, words);
	secret_unref(said);
	return ERR_SIGN_IN;
}

static int child_result(struct child *child, int status, struct secret **line_out, struct error *err)
{
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return child_failed(child, status, err);
	if (!line_out)
		return 0;
	if (child->line_cut)
		return error_set(
			err, ERR_SIGN_IN, "its first line of output is longer than %u KiB", AUTH_TOKEN_MAX / 1024);
	while (child->line_used && child->line[child->line_used - 1] == '\r')
		child->line_used--;
	if (child->line_used == 0)
		return child_failed(child, status, err);
	*line_out = secret_new(child->line, child->line_used);
	return 0;
}

static void fd_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

int auth_helper_run(const struct auth_helper *helper, struct secret **line_out, struct error *err)
{
	struct child *child = g_new0(struct child, 1);
	int out[2] = {-1, -1}, errors[2] = {-1, -1}, status = 0, rc;

	if (pipe2(out, O_CLOEXEC) != 0 || pipe2(errors, O_CLOEXEC) != 0)
		rc = error_set(err, ERR_FAILED, "can't open a pipe: %s", g_strerror(errno));
	else if ((rc = spawn(child, helper, out[1], errors[1])) != 0)
		rc = error_set(err, ERR_FAILED, "can't run /bin/sh: %s", g_strerror(rc));
	fd_close(&out[1]);
	fd_close(&errors[1]);
	child->out_fd = out[0];
	child->err_fd = errors[0];
	if (rc == 0) {
		fcntl(child->out_fd, F_SETFL, O_NONBLOCK);
		fcntl(child->err_fd, F_SETFL, O_NONBLOCK);
		rc = child_wait(child, helper, &status, err);
	}
	if (rc == 0)
		rc = child_result(child, status, line_out, err);
	fd_close(&child->out_fd);
	fd_close(&child->err_fd);
	secret_wipe(child, sizeof(*child));
	g_free(child);
	return rc;
}
