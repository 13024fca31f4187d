/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fs/fs.h"
#include "src/base/log.h"
#include "src/cli/account.h"
#include "src/cli/command.h"
#include "src/cli/daemon.h"
#include "src/cli/mounts.h"
#include "src/cli/readiness.h"
#include "src/cli/server.h"
#include "src/mail/mail.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "src/base/banned.h"

struct mounting {
	struct settings *settings;
	char *mountpoint;
	bool foreground, debug, verbose;
	struct daemon daemon;
	char *manager; /* see readiness.h */

	struct account *account;
	struct fs *fs;
	struct server *server;
	pthread_t signals;
	bool signals_started;
	atomic_bool ending;
};

/* ---- signals ---- */

static void signals_set(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGHUP);
}

static void *signals_run(void *data)
{
	struct mounting *m = data;
	sigset_t set;
	int signal_number;

	signals_set(&set);
	while (sigwait(&set, &signal_number) == 0 && !atomic_load(&m->ending)) {
		if (signal_number == SIGHUP) {
			log_info("%s: trying again at once", m->mountpoint);
			mail_retry_now(m->account->mail);
		} else {
			log_info("%s: ending by signal %d", m->mountpoint, signal_number);
			fs_stop(m->fs);
		}
	}
	return NULL;
}

static void signals_stop(struct mounting *m)
{
	if (!m->signals_started)
		return;
	atomic_store(&m->ending, true);
	pthread_kill(m->signals, SIGTERM);
	pthread_join(m->signals, NULL);
}

/* ---- the mount's process ---- */

static int mount_open(struct mounting *m, struct error *err)
{
	const struct settings *s = m->settings;
	struct fs_config config = {
		.mountpoint = m->mountpoint,
		.fsname = s->account,
		.names_uid = s->names == NAMES_UID,
		.maildir = s->layout == LAYOUT_MAILDIR,
		.xattr = s->xattr,
		.allow_other = s->allow_other,
		.allow_root = s->allow_root,
		.offline = s->offline,
		.uid = s->uid_set ? s->uid : getuid(),
		.gid = s->gid_set ? s->gid : getgid(),
		.umask = s->umask_set ? s->umask : 0,
		.debug = m->debug,
	};
	int code = account_open(g_steal_pointer(&m->settings), &m->account, err);

	if (code == 0)
		code = fs_new(m->account->mail, &config, &m->fs, err);
	if (code == 0 && pthread_create(&m->signals, NULL, signals_run, m) != 0)
		code = error_set(err, ERR_FAILED, "mount: no thread can be started");
	else if (code == 0)
		m->signals_started = true;
	return code;
}

/* Without it the mount works as well; only other commands don't find it. */
static void server_open(struct mounting *m, const char *runtime_dir)
{
	g_autofree char *identity = account_identity(m->account->settings);
	const struct settings *s = m->account->settings;
	struct server_config config = {
		runtime_dir, identity, m->mountpoint, s->names == NAMES_UID, s->layout == LAYOUT_MAILDIR};
	struct error err = {0};

	if (server_start(m->account->mail, &config, &m->server, &err) != 0)
		log_warning("`mailtree status` won't see this mount: %s", err.text);
}

static void mount_close(struct mounting *m)
{
	server_stop(m->server);
	signals_stop(m);
	fs_free(m->fs);
	account_close(m->account);
}

/* Ready: tells the parent, if there is one, and goes on without a terminal. */
static void mount_detach(struct mounting *m, enum log_level level)
{
	readiness_tell(m->manager, "READY=1");
	if (m->foreground)
		return;
	if (!daemon_report(&m->daemon, 0, NULL))
		fs_stop(m->fs);
	log_init(level, LOG_TO_SYSLOG);
}

static int mount_serve(struct mounting *m, const char *runtime_dir, struct error *err)
{
	enum log_level level = m->debug ? LOG_LEVEL_DEBUG : m->verbose ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING;
	sigset_t set;
	int code;

	log_init(level, LOG_TO_STDERR);
	m->manager = readiness_take();
	/* every thread inherits this; ours takes them */
	signals_set(&set);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	code = mount_open(m, err);
	if (code == 0) {
		server_open(m, runtime_dir);
		mount_detach(m, level);
		log_info("%s: mounted", m->mountpoint);
		code = fs_run(m->fs, err);
		if (code != 0 && !m->foreground)
			log_error("%s", err->text);
		readiness_tell(m->manager, "STOPPING=1");
		log_info("%s: unmounted", m->mountpoint);
	}
	mount_close(m);
	return code;
}

/* ---- the command ---- */

static int settings_check(const struct settings *settings, struct error *err)
{
	if (settings->write) {
		error_set(err, ERR_CONFIG, "write: changing mail isn't supported yet");
		error_hint(err, "mount without it: read-only");
		return ERR_CONFIG;
	}
	return 0;
}

/* The child's failure is told by its parent, who alone is heard. */
static int run_in_background(struct mounting *m, const char *runtime_dir, struct error *err)
{
	int code = daemon_fork(&m->daemon, err);

	if (!m->daemon.is_child)
		return code;
	if (code == 0)
		code = mount_serve(m, runtime_dir, err);
	if (m->daemon.report_fd >= 0)
		daemon_report(&m->daemon, code, err);
	err->text[0] = '\0';
	return code;
}

static int mount_run(struct call *call, struct mounting *m, const char *options, struct error *err)
{
	int code = call_settings(call, options, &m->settings, err);

	if (code == 0)
		code = settings_check(m->settings, err);
	if (code == 0)
		code = mounts_resolve(call->arguments[1], &m->mountpoint, err);
	m->verbose = call->verbose;
	/* whoever debugs a mount may attach a debugger or strace; else main() has made that impossible */
	if (code == 0 && m->debug)
		prctl(PR_SET_DUMPABLE, 1);
	if (code == 0)
		code = m->foreground ? mount_serve(m, call->places.runtime_dir, err)
		                     : run_in_background(m, call->places.runtime_dir, err);
	settings_free(m->settings);
	g_free(m->mountpoint);
	g_free(m->manager);
	return code;
}

static int run(struct call *call, struct error *err)
{
	gboolean foreground = FALSE, debug = FALSE;
	g_auto(GStrv) options = NULL;
	g_autofree char *joined = NULL;
	const GOptionEntry entries[] = {
		{"foreground", 'f', 0, G_OPTION_ARG_NONE, &foreground, "stay in the foreground; log to standard error",
			NULL},
		{"debug", 'd', 0, G_OPTION_ARG_NONE, &debug, "log everything (never secrets)", NULL},
		{"options", 'o', 0, G_OPTION_ARG_FILENAME_ARRAY, &options, "mount options, see mailtree-config(5)",
			"OPT[,OPT…]"},
		{NULL},
	};
	int code = call_parse(call, entries, err);

	if (code != 0)
		return code;
	joined = options ? g_strjoinv(",", options) : NULL;
	return mount_run(call, &(struct mounting){.foreground = foreground, .debug = debug}, joined, err);
}

const struct command command_mount = {
	.name = "mount",
	.arguments = "ACCOUNT MOUNTPOINT",
	.summary = "mount an account's mail as directories and files",
	.description =
		"Returns once the mail is mounted. That needs neither network nor sign-in: both come with the first "
		"access.\n"
		"ACCOUNT is a group of the configuration, or GROUP:ADDRESS for another mailbox with the same "
		"settings.\n\n"
		"Example:\n"
		"  mailtree mount work ~/Mail\n"
		"  mailtree mount work:team@contoso.com ~/Team -o names=uid,allow_root",
	.arguments_min = 2,
	.arguments_max = 2,
	.run = run,
};

/* ---- for mount(8) ---- */

static int helper_run(struct call *call, struct error *err)
{
	gboolean sloppy = FALSE, fake = FALSE, no_mtab = FALSE;
	g_auto(GStrv) options = NULL;
	g_autofree char *type = NULL, *name_space = NULL, *joined = NULL;
	struct mounting m = {0};
	/* -v is among the global options */
	const GOptionEntry entries[] = {
		{"options", 'o', 0, G_OPTION_ARG_FILENAME_ARRAY, &options, "mount options", "OPT[,OPT…]"},
		{"fake", 'f', 0, G_OPTION_ARG_NONE, &fake, "check everything, but don't mount", NULL},
		{"sloppy", 's', 0, G_OPTION_ARG_NONE, &sloppy, "accepted and ignored", NULL},
		{"no-mtab", 'n', 0, G_OPTION_ARG_NONE, &no_mtab, "accepted and ignored", NULL},
		{"type", 't', 0, G_OPTION_ARG_FILENAME, &type, "accepted and ignored", "TYPE"},
		{"namespace", 'N', 0, G_OPTION_ARG_FILENAME, &name_space, "accepted and ignored", "NAMESPACE"},
		{NULL},
	};
	int code = call_parse(call, entries, err);

	if (code != 0)
		return code;
	joined = options ? g_strjoinv(",", options) : NULL;
	if (!fake)
		return mount_run(call, &m, joined, err);
	code = call_settings(call, joined, &m.settings, err);
	if (code == 0)
		code = settings_check(m.settings, err);
	settings_free(m.settings);
	return code;
}

const struct command command_mount_helper = {
	.name = "mount",
	.arguments = "ACCOUNT DIRECTORY",
	.summary = "mount an account's mail, for mount(8)",
	.description = "Run by mount(8); does what `mailtree mount` does.\n\n"
		       "Example:\n"
		       "  mount -t fuse.mailtree work /srv/mail -o config=/etc/mailtree/config",
	.arguments_min = 2,
	.arguments_max = 2,
	.run = helper_run,
};
