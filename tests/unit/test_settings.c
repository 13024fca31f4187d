/* SPDX-License-Identifier: GPL-2.0-or-later */
/* src/cli/settings: what a configuration and mount options mean, what is refused in which words, and the manual page.
 */
#include "src/base/log.h"
#include "src/cli/settings.h"
#include "src/cli/settings_options.h"
#include "src/cli/settings_table.h"

#include <glib.h>
#include <glib/gstdio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "src/base/banned.h"

/* A complete account of each kind, to which the cases add a line or an option. */
#define OUTLOOK                                                                                                        \
	"[work]\nprovider = outlook\nuser = olena@contoso.com\nauth = client-credentials\ntenant = contoso.com\n"      \
	"client_id = id\nclient_secret_command = pass show x\n"
#define PERSONAL                                                                                                       \
	"[work]\nprovider = outlook-personal\nuser = o@outlook.com\nauth = authorization-code\nclient_id = id\n"
#define GMAIL                                                                                                          \
	"[work]\nprovider = gmail\nuser = o@gmail.com\nauth = device-code\nclient_id = id\nclient_secret_file = s\n"
#define GENERIC "[work]\nhost = imap.example.org\nuser = olena\nauth = password\npassword_file = pw\n"
#define OAUTH                                                                                                          \
	"[work]\nhost = imap.example.org\nuser = olena\nauth = authorization-code\nclient_id = id\nscope = mail\n"     \
	"authority = https://login.example.org/\ntenant = t-1.example\n"

struct fixture {
	char *dir;
	struct settings_places places;
};

static int setup(void **state)
{
	struct fixture *f = g_new0(struct fixture, 1);

	f->dir = g_dir_make_tmp("mailtree-settings-XXXXXX", NULL);
	f->places.config_file = g_build_filename(f->dir, "config", NULL);
	f->places.cache_dir = g_strdup("/cache");
	f->places.state_dir = g_strdup("/state");
	f->places.runtime_dir = g_strdup("/run");
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	g_unlink(f->places.config_file);
	g_rmdir(f->places.config_file);
	g_rmdir(f->dir);
	settings_places_fini(&f->places);
	g_free(f->dir);
	g_free(f);
	return 0;
}

static void config_write(const struct fixture *f, const char *text, size_t length)
{
	assert_true(g_file_set_contents_full(
		f->places.config_file, text, (gssize)length, G_FILE_SET_CONTENTS_CONSISTENT, 0600, NULL));
}

static int load(const struct fixture *f, const char *config, const char *account, const char *options,
	struct settings **settings_out, struct error *err)
{
	config_write(f, config, strlen(config));
	*settings_out = NULL;
	return settings_load(&f->places, account, options, settings_out, err);
}

/* A setting as text: what a key came to in the end. */
static char *setting_show(const struct settings *settings, const struct setting *setting)
{
	const char *at = (const char *)settings + setting->offset;

	switch (setting->type) {
	case SETTING_TEXT:
	case SETTING_SECRET:
	case SETTING_PATH:
	case SETTING_URL:
		return g_strdup(*(char *const *)at ? *(char *const *)at : "-");
	case SETTING_GLOBS:
		return *(char **const *)at ? g_strjoinv("|", *(char **const *)at) : g_strdup("-");
	case SETTING_FLAG:
	case SETTING_CHOICE:
		return g_strdup(*(const bool *)at ? "true" : "false");
	case SETTING_WORD:
		for (const struct setting_word *word = setting->words; word->word; word++)
			if (word->value == (int)*(const unsigned *)at)
				return g_strdup(word->word);
		return g_strdup("?");
	case SETTING_NUMBER:
	case SETTING_ID:
		return g_strdup_printf("%u", *(const uint32_t *)at);
	case SETTING_STALE:
		return g_strdup_printf("%" G_GINT64_FORMAT, *(const int64_t *)at);
	case SETTING_SIZE:
		return g_strdup_printf("%" G_GUINT64_FORMAT, *(const uint64_t *)at);
	case SETTING_OCTAL:
		return g_strdup_printf("%03o", *(const mode_t *)at);
	}
	return g_strdup("?");
}

static char *key_show(const struct fixture *f, const struct settings *settings, const char *key)
{
	g_autofree char *text = NULL;

	if (strcmp(key, "port") == 0)
		return g_strdup_printf("%u", settings->port);
	if (strcmp(key, "ro") == 0)
		return g_strdup(settings->read_only ? "true" : "false");
	assert_non_null(settings_table_find(key));
	text = setting_show(settings, settings_table_find(key));
	if (g_str_has_prefix(text, f->dir))
		return g_strconcat("DIR", text + strlen(f->dir), NULL);
	return g_steal_pointer(&text);
}

struct good {
	const char *config, *line, *options, *key, *value;
};

#define DELEGATED "https://outlook.office.com/IMAP.AccessAsUser.All offline_access openid email"
#define MICROSOFT "https://login.microsoftonline.com/"

static const struct good goods[] = {
	/* presets */
	{OUTLOOK, "", NULL, "host", "outlook.office365.com"},
	{OUTLOOK, "", NULL, "port", "993"},
	{OUTLOOK, "", NULL, "tls", "implicit"},
	{OUTLOOK, "", NULL, "token_url", MICROSOFT "contoso.com/oauth2/v2.0/token"},
	{OUTLOOK, "", NULL, "scope", "https://outlook.office365.com/.default"},
	{OUTLOOK, "", NULL, "sizes", "auto"},
	{OUTLOOK, "", NULL, "daily_bytes", "0"},
	{OUTLOOK, "", "auth=device-code", "scope", DELEGATED},
	{OUTLOOK, "", "auth=device-code", "device_url", MICROSOFT "contoso.com/oauth2/v2.0/devicecode"},
	{OUTLOOK, "", "auth=authorization-code", "auth_url", MICROSOFT "contoso.com/oauth2/v2.0/authorize"},
	{OUTLOOK, "scope = mine", NULL, "scope", "mine"},
	{OUTLOOK, "token_url = https://t.example/x", NULL, "token_url", "https://t.example/x"},
	{OUTLOOK, "authority = http://127.0.0.1:80/", NULL, "token_url",
		"http://127.0.0.1:80/contoso.com/oauth2/v2.0/token"},
	{PERSONAL, "", NULL, "host", "outlook.office365.com"},
	{PERSONAL, "", NULL, "scope", DELEGATED},
	{PERSONAL, "", NULL, "token_url", MICROSOFT "consumers/oauth2/v2.0/token"},
	{GMAIL, "", NULL, "host", "imap.gmail.com"},
	{GMAIL, "", NULL, "token_url", "https://oauth2.googleapis.com/token"},
	{GMAIL, "", NULL, "device_url", "https://oauth2.googleapis.com/device/code"},
	{GMAIL, "", NULL, "scope", "https://mail.google.com/"},
	{GMAIL, "", NULL, "sizes", "trust"},
	{GMAIL, "", NULL, "daily_bytes", "2097152000"},
	{GMAIL, "", "sizes=exact", "sizes", "exact"},
	{GMAIL, "daily_bytes = 0", NULL, "daily_bytes", "0"},
	{OAUTH, "", NULL, "token_url", "https://login.example.org/t-1.example/oauth2/v2.0/token"},
	/* values are raw */
	{GENERIC, "notify_command = a # b; c \\n \"d\"", NULL, "notify_command", "a # b; c \\n \"d\""},
	{GENERIC, "  notify_command  =  a=b  ", NULL, "notify_command", "a=b"},
	{GENERIC, "# user = other\n\n#", NULL, "user", "olena"},
	{GENERIC, "notify_command=\xd0\xb4\xd0\xb7\xd0\xb2\xd1\x96\xd0\xbd\r", NULL, "notify_command",
		"\xd0\xb4\xd0\xb7\xd0\xb2\xd1\x96\xd0\xbd"},
	{GENERIC, "[other]\nuser = other\nunknown = 1", NULL, "user", "olena"},
	/* types */
	{GENERIC, "tls = STARTTLS", NULL, "tls", "starttls"},
	{GENERIC, "tls = starttls", NULL, "port", "143"},
	{GENERIC, "tls = starttls\nport = 1", NULL, "port", "1"},
	{GENERIC, "", "tls=none,host=127.0.0.1", "tls", "none"},
	{GENERIC, "", "tls=none,host=[::1]", "host", "::1"},
	{GENERIC, "", "tls=none,host=localhost", "port", "143"},
	{GENERIC, "", "host=2001:db8::1", "host", "2001:db8::1"},
	{GENERIC, "cache_size = 512k", NULL, "cache_size", "524288"},
	{GENERIC, "cache_size = 3M", NULL, "cache_size", "3145728"},
	{GENERIC, "cache_size = 1T", NULL, "cache_size", "1099511627776"},
	{GENERIC, "cache_size = 0", NULL, "cache_size", "0"},
	{GENERIC, "", NULL, "cache_size", "2147483648"},
	{GENERIC, "", NULL, "cache_dir", "/cache"},
	{GENERIC, "cache_dir = sub/../mail", NULL, "cache_dir", "DIR/mail"},
	{GENERIC, "ca_file = /etc/ca.pem", NULL, "ca_file", "/etc/ca.pem"},
	{GENERIC, "", NULL, "password_file", "DIR/pw"},
	{GENERIC, "", NULL, "connections", "4"},
	{GENERIC, "", NULL, "timeout", "30"},
	{GENERIC, "", NULL, "throttle_wait", "600"},
	{GENERIC, "", NULL, "poll", "300"},
	{GENERIC, "", NULL, "stale", "-1"},
	{GENERIC, "stale = 0", NULL, "stale", "0"},
	{GENERIC, "stale = never", NULL, "stale", "-1"},
	{GENERIC, "", NULL, "broken", "false"},
	{GENERIC, "broken = stub", NULL, "broken", "true"},
	{GENERIC, "", NULL, "eol", "false"},
	{GENERIC, "eol = lf", NULL, "eol", "true"},
	{GENERIC, "layout = maildir", NULL, "eol", "true"},
	{GENERIC, "layout = maildir\neol = crlf", NULL, "eol", "false"},
	{GENERIC, "folders = INBOX;  Sent Items ;;**/A;", NULL, "folders", "INBOX|Sent Items|**/A"},
	{GENERIC, "exclude = ;", NULL, "exclude", "-"},
	{GENERIC, "umask = 077", NULL, "umask", "077"},
	{GENERIC, "sasl = login", NULL, "sasl", "login"},
	{OUTLOOK, "sasl = xoauth2", NULL, "sasl", "xoauth2"},
	{GENERIC, "names = uid", NULL, "names", "uid"},
	{GENERIC, "allow_other = yes", NULL, "allow_other", "true"},
	{GENERIC, "xattr = off", NULL, "xattr", "false"},
	/* options */
	{GENERIC, "", "xattr,noprefetch,offline", "noprefetch", "true"},
	{GENERIC, "xattr = true", "xattr=false", "xattr", "false"},
	{GENERIC, "", "write", "write", "true"},
	{GENERIC, "", NULL, "write", "false"},
	{GENERIC, "", "rw,defaults", "write", "false"},
	{GENERIC, "", "write,rw", "write", "true"},
	{GENERIC, "", "ro,write", "write", "false"},
	{GENERIC, "write = true", "ro", "write", "false"},
	{GENERIC, "", "write,ro,rw", "ro", "true"},
	{GENERIC, "", "_netdev,nofail,noauto,auto,user,users,owner,exec,noexec,dev,nodev,suid,nosuid", "user", "olena"},
	{GENERIC, "", "relatime,noatime,strictatime,x-systemd.automount,x-systemd.idle-timeout=10,comment=x", "user",
		"olena"},
	{GENERIC, "", "user=other", "user", "other"},
	{GENERIC, "", "user,user=other,nouser", "user", "other"},
	{GENERIC, "", "uid=1000,gid=100,umask=22", "uid", "1000"},
	{GENERIC, "", "uid=1000,gid=100,umask=22", "umask", "022"},
	{GENERIC, "", "names=uid,names=date", "names", "date"},
	{GENERIC, "", ",,names=uid,,", "names", "uid"},
	{GENERIC, "", "folders=A\\,B;C\\\\D", "folders", "A,B|C\\D"},
	{GENERIC, "", "notify_command=a\\b=c", "notify_command", "a\\b=c"},
	{GENERIC, "", "password_command=x", "password_file", "-"},
	{GENERIC, "", "password_command=x", "password_command", "x"},
};

static void test_accepted(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < G_N_ELEMENTS(goods); i++) {
		const struct good *c = &goods[i];
		g_autofree char *config = g_strconcat(c->config, c->line, "\n", NULL);
		g_autofree char *shown = NULL;
		struct settings *settings = NULL;
		struct error err = {0};

		if (load(f, config, "work", c->options, &settings, &err) != 0)
			fail_msg("%s -o %s: %s (%s)", c->line, c->options, err.text, err.hint);
		shown = key_show(f, settings, c->key);
		if (strcmp(shown, c->value) != 0)
			fail_msg("%s -o %s: %s is %s, not %s", c->line, c->options, c->key, shown, c->value);
		settings_free(settings);
	}
}

struct bad {
	const char *config, *line, *options;
	const char *text, *hint; /* parts; FILE is the configuration's path */
};

static const struct bad bads[] = {
	/* keys */
	{GENERIC, "sizs = auto", NULL, "FILE:6: [work] sizs: no such key", "`sizes`"},
	{GENERIC, "cachesize = 1", NULL, "FILE:6: [work] cachesize: no such key", "`cache_size`"},
	{GENERIC, "\n# comment\n\nxyzzyplugh = 1", NULL, "FILE:9: [work] xyzzyplugh: no such key", ""},
	{GENERIC, "config = x", NULL, "FILE:6: [work] config: no such key", NULL},
	{GENERIC, "ro = true", NULL, "FILE:6: [work] ro: no such key", NULL},
	{GENERIC, "user = x", NULL, "FILE:6: [work] user is set twice, first in line 3", NULL},
	{GENERIC, "user[de] = x", NULL, "FILE:6: not a key", NULL},
	{GENERIC, "write", NULL, "FILE:6: neither", "comments"},
	{GENERIC, "; comment", NULL, "FILE:6: neither", "comments"},
	{GENERIC, " = x", NULL, "FILE:6: not a key", NULL},
	{GENERIC, "[open", NULL, "FILE:6: a group is written", NULL},
	{GENERIC, "[]", NULL, "FILE:6: a group is written", NULL},
	{GENERIC, "[a]b]", NULL, "FILE:6: a group is written", NULL},
	{GENERIC, "[a\tb]", NULL, "FILE:6: a group is written", NULL},
	{GENERIC, "names = \001", NULL, "FILE:6: contains a control character", NULL},
	{GENERIC, "names = \xff", NULL, "FILE:6: isn't UTF-8", NULL},
	{"user = x\n" GENERIC, "", NULL, "FILE:1: user stands before the first [GROUP]", NULL},
	/* values */
	{GENERIC, "sizes = big", NULL, "FILE:6: [work] sizes = big: expected auto, exact or trust", NULL},
	{GENERIC, "tls = ssl", NULL, "FILE:6: [work] tls = ssl: expected implicit, starttls or none", NULL},
	{GENERIC, "broken = no", NULL, "expected error or stub", NULL},
	{GENERIC, "port = 0", NULL, "port = 0: expected a number from 1 to 65535", NULL},
	{GENERIC, "port = 65536", NULL, "expected a number", NULL},
	{GENERIC, "port = imaps", NULL, "expected a number", NULL},
	{GENERIC, "port = -1", NULL, "expected a number", NULL},
	{GENERIC, "port = +1", NULL, "expected a number", NULL},
	{GENERIC, "port = 9 9", NULL, "expected a number", NULL},
	{GENERIC, "port = 99999999999999999999", NULL, "expected a number", NULL},
	{GENERIC, "connections = 0", NULL, "from 1 to 32", NULL},
	{GENERIC, "timeout = 1.5", NULL, "expected a number", NULL},
	{GENERIC, "stale = -1", NULL, "or never", NULL},
	{GENERIC, "cache_size = 2GB", NULL, "expected bytes, such as", NULL},
	{GENERIC, "cache_size = G", NULL, "expected bytes", NULL},
	{GENERIC, "cache_size = 1.5G", NULL, "expected bytes", NULL},
	{GENERIC, "cache_size = -1", NULL, "expected bytes", NULL},
	{GENERIC, "cache_size = 9999999999T", NULL, "expected bytes", NULL},
	{GENERIC, "xattr = maybe", NULL, "expected true or false", NULL},
	{GENERIC, "uid = root", NULL, "expected a numeric id", NULL},
	{GENERIC, "uid = 4294967295", NULL, "expected a numeric id", NULL},
	{GENERIC, "umask = 8", NULL, "expected an octal mode", NULL},
	{GENERIC, "umask = 1777", NULL, "expected an octal mode", NULL},
	{GENERIC, "ca_file =", NULL, "FILE:6: [work] ca_file: is empty", NULL},
	{GENERIC, "notify_command = a\tb", NULL, "contains a control character", NULL},
	{GENERIC, "provider = outlok", NULL, "FILE:6: [work] provider = outlok: expected outlook", NULL},
	{OAUTH, "token_url = http://login.example.org/t", NULL, "FILE:9: [work] token_url: ", NULL},
	{OAUTH, "token_url = nonsense", NULL, "isn't an https URL", NULL},
	/* meaning */
	{GENERIC, "tls = none", NULL, "FILE: [work]: tls: none would send", "implicit or starttls"},
	{GENERIC, "tls = none", "host=127.0.0.1.example.org", "tls: none", NULL},
	{GENERIC, "", "host=imap.example.org:993", "host: `imap.example.org:993`", "`port`"},
	{GENERIC, "", "host=imaps://imap.example.org", "isn't a host name", NULL},
	{GENERIC, "password_command = x", NULL, "only one of them", NULL},
	{OAUTH, "token_store = keyring", NULL, "token_store = keyring: expected file or secret-service", NULL},
	{GENERIC, "sasl = xoauth2", NULL, "sasl: this mechanism takes tokens", NULL},
	{OUTLOOK, "sasl = plain", NULL, "sasl: this mechanism takes passwords", NULL},
	{OUTLOOK, "certificate = c", NULL, "certificate, client_secret: only one", NULL},
	{GMAIL, "certificate_key = c", NULL, "certificate: missing", NULL},
	{PERSONAL, "", "auth=client-credentials", "doesn't work for personal accounts", NULL},
	{GENERIC, "", "allow_other,allow_root", "allow_other, allow_root: only one", NULL},
	/* what is missing */
	{"[work]\nuser = x\nhost = h\n", "", NULL, "FILE: [work]: auth: missing", "token-command"},
	{"[work]\nuser = x\nauth = password\n", "", NULL, "host: missing", NULL},
	{"[work]\nhost = h\nauth = password\n", "", NULL, "user: missing", NULL},
	{"[work]\nhost = h\nuser = x\nauth = password\n", "", NULL, "password: missing", "password_command"},
	{"[work]\nhost = h\nuser = x\nauth = token-command\n", "", NULL, "token_command: missing", NULL},
	{"[work]\nhost = h\nuser = x\nauth = token-file\n", "", NULL, "token_file: missing", NULL},
	{"[work]\nprovider=outlook\nuser=x\nauth=client-credentials\n", "", NULL, "client_id: missing", NULL},
	{"[work]\nprovider=outlook\nuser=x\nauth=client-credentials\nclient_id=i\n", "", NULL, "client_secret: missing",
		"certificate"},
	{"[work]\nprovider=outlook\nuser=x\nauth=device-code\nclient_id=i\n", "", NULL, "tenant: missing", "contoso"},
	{"[work]\nhost=h\nuser=x\nauth=device-code\nclient_id=i\n", "", NULL, "token_url: missing", "authority"},
	{"[work]\nhost=h\nuser=x\nauth=device-code\nclient_id=i\ntoken_url=https://e/t\n", "", NULL,
		"device_url: missing", NULL},
	{OUTLOOK, "", "tenant=a/b", "tenant: `a/b`", NULL},
	{OUTLOOK, "", "tenant=..", "tenant: `..`", NULL},
	{"[home]\n[work2]\n", "", NULL, "FILE: no account [work]", "home, work2"},
	{"", "", NULL, "FILE: no account [work]", "no account is in it"},
	/* options */
	{GENERIC, "", "sizs=auto", "-o sizs: no such mount option", "`sizes`"},
	{GENERIC, "", "sizes=big", "-o sizes = big: expected auto, exact or trust", NULL},
	{GENERIC, "", "sizes", "-o sizes: needs a value", NULL},
	{GENERIC, "", "sizes=", "-o sizes: is empty", NULL},
	{GENERIC, "", "=x", "a value without a name", NULL},
	{GENERIC, "", "password=very~secret", "list of processes", "password_file"},
	{GENERIC, "", "client_secret=very~secret", "list of processes", NULL},
	{GENERIC, "", "rw=1", "-o rw: no such mount option", NULL},
	{GENERIC, "", "config=/nowhere/at/all", "/nowhere/at/all: No such file", "setup"},
};

static void assert_refused(const struct fixture *f, const char *config, const char *account, const char *options,
	const char *text, const char *hint)
{
	struct settings *settings = NULL;
	struct error err = {0};
	int rc = load(f, config, account, options, &settings, &err);
	g_auto(GStrv) parts = g_strsplit(text, "FILE", 2);
	g_autofree char *wanted = g_strjoinv(f->places.config_file, parts);

	if (rc != ERR_CONFIG || err.code != ERR_CONFIG || settings || !strstr(err.text, wanted) ||
		(hint && !strstr(err.hint, hint)) || (hint && !*hint && *err.hint) || strchr(err.text, '\n'))
		fail_msg("%s -o %s: %d: %s (%s), not %s (%s)", config, options, rc, err.text, err.hint, wanted, hint);
	/* a place comes first, if there is one, and no secret ever */
	if (parts[1])
		assert_true(g_str_has_prefix(err.text, f->places.config_file));
	assert_null(strstr(err.text, "very~secret"));
	assert_null(strstr(err.hint, "very~secret"));
}

static void test_refused(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < G_N_ELEMENTS(bads); i++) {
		g_autofree char *config = g_strconcat(bads[i].config, bads[i].line, "\n", NULL);

		assert_refused(f, config, "work", bads[i].options, bads[i].text, bads[i].hint);
	}
}

static void test_secret_service_needs_its_library(void **state)
{
	struct settings *settings = NULL;
	struct fixture *f = *state;

	if (!auth_secret_service_is_built_in()) {
		assert_refused(f, OAUTH "token_store = secret-service\n", "work", NULL,
			"FILE: [work]: token_store: this mailtree is built without libsecret", "file");
		return;
	}
	assert_int_equal(load(f, OAUTH "token_store = secret-service\n", "work", NULL, &settings, NULL), 0);
	assert_int_equal(settings->auth.token_store, AUTH_STORE_SECRET_SERVICE);
	settings_free(settings);
}

static void test_secrets_are_never_quoted(void **state)
{
	static const char *const lines[] = {"password = very~secret\nsizes = x", "password = very~secret\tx",
		"password very~secret", "pasword = very~secret", "password = very~secret\npassword = very~secret",
		"[very~secret", "token_url = https://olena:very~secret@example.org/"};
	struct fixture *f = *state;

	for (size_t i = 0; i < G_N_ELEMENTS(lines); i++) {
		g_autofree char *config = g_strconcat(
			"[work]\nhost = h\nuser = x\nauth = password\n", lines[i], "\n", NULL);

		assert_refused(f, config, "work", NULL, "FILE:", NULL);
	}
}

static void test_accounts(void **state)
{
	static const struct {
		const char *account, *group, *user;
	} cases[] = {
		{"work", "work", "olena@contoso.com"},
		{"work:team@contoso.com", "work", "team@contoso.com"},
		{"work:a:b", "work", "a:b"},
		{"a:b", "a:b", "colon"},
		{"a:b:x", "a:b", "x"},
	};
	struct fixture *f = *state;
	struct settings *settings = NULL;
	struct error err = {0};

	for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
		assert_int_equal(load(f, OUTLOOK "[a:b]\nuser = colon\nhost = h\nauth = token-file\ntoken_file = t\n",
					 cases[i].account, NULL, &settings, &err),
			0);
		assert_string_equal(settings->account, cases[i].account);
		assert_string_equal(settings->group, cases[i].group);
		assert_string_equal(settings->user, cases[i].user);
		assert_string_equal(settings->config_file, f->places.config_file);
		/* auth_new() takes what is composed */
		assert_string_equal(settings->auth.user, cases[i].user);
		assert_string_equal(settings->auth.account, cases[i].account);
		assert_string_equal(settings->auth.state_dir, "/state");
		settings_free(settings);
	}
	assert_refused(f, OUTLOOK, "work:", NULL, "no address behind the colon", NULL);
	assert_refused(f, OUTLOOK, "wrok:x", NULL, "FILE: no account [wrok:x]", "work");
	assert_refused(f, OUTLOOK, "", NULL, "FILE: no account []", NULL);
	assert_refused(f, OUTLOOK, ":x", NULL, "FILE: no account", NULL);
	assert_refused(f, OUTLOOK, "work:x", "user=y", "names the user already", NULL);
	assert_refused(f, OUTLOOK, "work:x\ny", NULL, "control character", NULL);
}

static void test_every_auth_is_complete(void **state)
{
	static const char *const configs[] = {OUTLOOK, PERSONAL, GMAIL, GENERIC, OAUTH};
	struct fixture *f = *state;

	for (size_t i = 0; i < G_N_ELEMENTS(configs); i++) {
		struct settings *settings = NULL;
		struct auth *auth = NULL;
		struct error err = {0};

		assert_int_equal(load(f, configs[i], "work", NULL, &settings, &err), 0);
		if (auth_new(NULL, &settings->auth, &auth, &err) != 0)
			fail_msg("%s", err.text);
		auth_free(auth);
		settings_free(settings);
	}
}

static void test_config_option(void **state)
{
	struct fixture *f = *state;
	g_autofree char *other = g_build_filename(f->dir, "other", NULL);
	g_autofree char *options = g_strdup_printf("config=%s,xattr", other);
	struct settings *settings = NULL;
	struct error err = {0};

	assert_true(g_file_set_contents(other, GENERIC "names = uid\n", -1, NULL));
	assert_int_equal(load(f, "[none]\n", "work", options, &settings, &err), 0);
	assert_int_equal(settings->names, NAMES_UID);
	assert_true(settings->xattr);
	assert_string_equal(settings->config_file, other);
	settings_free(settings);
	g_unlink(other);
}

static void test_reload(void **state)
{
	struct fixture *f = *state;
	g_autofree char *here = g_get_current_dir();
	struct settings *settings = NULL;
	struct auth_config config = {0};
	struct error err = {0};

	/* relative paths stay where they were, also for a mount that has moved to another directory */
	assert_int_equal(g_chdir(f->dir), 0);
	assert_int_equal(load(f, GENERIC, "work:team", "config=./config,password_file=mine", &settings, &err), 0);
	assert_int_equal(g_chdir(here), 0);
	config_write(f, GENERIC "notify_command = new\n", strlen(GENERIC "notify_command = new\n"));
	assert_int_equal(settings_auth_reload(settings, &config, &err), 0);
	assert_string_equal(config.user, "team");
	assert_string_equal(config.notify_command, "new");
	assert_string_equal(config.state_dir, "/state");
	assert_true(g_str_has_prefix(config.password.file, f->dir) && g_str_has_suffix(config.password.file, "/mine"));
	auth_config_fini(&config);
	/* another server */
	config_write(f, GENERIC "port = 1993\n", strlen(GENERIC "port = 1993\n"));
	assert_int_equal(settings_auth_reload(settings, &config, &err), ERR_CONFIG);
	assert_non_null(strstr(err.text, "next mount"));
	/* half written */
	config_write(f, "[wor", 4);
	assert_int_equal(settings_auth_reload(settings, &config, &err), ERR_CONFIG);
	assert_null(config.user);
	settings_free(settings);
}

static void test_set_flags(void **state)
{
	struct fixture *f = *state;
	struct settings *settings = NULL;

	assert_int_equal(load(f, GENERIC, "work", NULL, &settings, NULL), 0);
	assert_false(settings->uid_set || settings->gid_set || settings->umask_set);
	settings_free(settings);
	assert_int_equal(load(f, GENERIC "uid = 0\n", "work", "gid=0,umask=0", &settings, NULL), 0);
	assert_true(settings->uid_set && settings->gid_set && settings->umask_set);
	settings_free(settings);
}

/* Files */

static void assert_file_refused(const struct fixture *f, const char *text)
{
	struct settings *settings = NULL;
	struct error err = {0};

	assert_int_equal(settings_load(&f->places, "work", NULL, &settings, &err), ERR_CONFIG);
	if (!strstr(err.text, text) || !strstr(err.text, f->places.config_file))
		fail_msg("%s, not %s", err.text, text);
	memset(&err, 0, sizeof(err));
	assert_null(settings_groups(&f->places, &err));
	assert_int_equal(err.code, ERR_CONFIG);
}

static void test_files(void **state)
{
	struct fixture *f = *state;
	g_autofree char *large = g_strnfill(1024 * 1024 + 1, '#');
	const char *path = f->places.config_file;

	assert_file_refused(f, "No such file");
	assert_int_equal(mkdir(path, 0700), 0);
	assert_file_refused(f, "not a regular file");
	rmdir(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_file_refused(f, "not a regular file");
	unlink(path);
	config_write(f, large, strlen(large));
	assert_file_refused(f, "larger than 1024 KiB");
	config_write(f, "[work]\0\n", 8);
	assert_file_refused(f, "contains a NUL");
	config_write(f, GENERIC, strlen(GENERIC));
	assert_int_equal(chmod(path, 0602), 0);
	assert_file_refused(f, "everybody can write");
}

static void test_secrets_that_others_can_read(void **state)
{
	static const mode_t modes[] = {0640, 0604, 0644};
	struct fixture *f = *state;
	struct settings *settings = NULL;
	struct error err = {0};

	for (size_t i = 0; i < G_N_ELEMENTS(modes); i++) {
		/* also another account's */
		const char *config = i ? GENERIC "[other]\nclient_secret = very~secret\n"
		                       : "[work]\nhost = h\nuser = x\nauth = password\npassword = very~secret\n";

		config_write(f, config, strlen(config));
		assert_int_equal(chmod(f->places.config_file, modes[i]), 0);
		assert_int_equal(settings_load(&f->places, "work", NULL, &settings, &err), ERR_CONFIG);
		assert_non_null(
			strstr(err.text, i ? ":7: [other] client_secret: other users" : ":5: [work] password: other"));
		assert_non_null(strstr(err.hint, "chmod 600 "));
		assert_null(strstr(err.text, "very"));
		assert_int_equal(chmod(f->places.config_file, 0600), 0);
		assert_int_equal(settings_load(&f->places, "work", NULL, &settings, &err), 0);
		settings_free(settings);
	}
	/* without a literal secret it may be public */
	config_write(f, GENERIC, strlen(GENERIC));
	assert_int_equal(chmod(f->places.config_file, 0644), 0);
	assert_int_equal(settings_load(&f->places, "work", NULL, &settings, &err), 0);
	settings_free(settings);
}

static void test_groups(void **state)
{
	struct fixture *f = *state;
	g_auto(GStrv) groups = NULL;
	g_autofree char *joined = NULL;

	/* with the mark that some editors put first */
	config_write(f, "\xef\xbb\xbf[a b]\r\nuser = x\r\n[\xd0\xb4]\r\n",
		strlen("\xef\xbb\xbf[a b]\r\nuser = x\r\n[\xd0\xb4]\r\n"));
	groups = settings_groups(&f->places, NULL);
	joined = g_strjoinv("|", groups);
	assert_string_equal(joined, "a b|\xd0\xb4");
}

static void test_cut_anywhere(void **state)
{
	static const char full[] = OUTLOOK "# \xd1\x82\nfolders = A;B\n[two]\nuser = x\n";
	static const char options[] = "xattr,folders=A\\,B;C\\\\,x-systemd.automount,umask=022,ro,user=x";
	struct fixture *f = *state;

	for (size_t i = 0; i <= strlen(full); i++) {
		g_autofree char *cut = g_strndup(full, i);
		struct settings *settings = NULL;
		struct error err = {0};
		int rc = load(f, cut, "work", NULL, &settings, &err);

		assert_true(rc == 0 || (rc == ERR_CONFIG && *err.text));
		settings_free(settings);
	}
	for (size_t i = 0; i <= strlen(options); i++) {
		g_autofree char *cut = g_strndup(options, i);
		struct settings_options parsed;
		struct error err = {0};
		int rc = settings_options_parse(cut, "/", &parsed, &err);

		assert_true(rc == 0 || (rc == ERR_CONFIG && *err.text));
		if (rc == 0)
			settings_options_fini(&parsed);
	}
}

/* Places */

static const char *const place_variables[] = {
	"HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR", "MAILTREE_CONFIG"};

struct place_case {
	const char *option;
	const char *values[G_N_ELEMENTS(place_variables)];
	const char *config, *cache, *state, *runtime; /* NULL = it depends on the machine */
};

static const struct place_case place_cases[] = {
	{NULL, {"/home/o"}, "/home/o/.config/mailtree/config", "/home/o/.cache/mailtree",
		"/home/o/.local/state/mailtree"},
	{NULL, {"/home/o", "/c", "/k", "/s", "/r"}, "/c/mailtree/config", "/k/mailtree", "/s/mailtree", "/r/mailtree"},
	/* what isn't absolute counts as unset */
	{NULL, {"/home/o", "c", "", "./s"}, "/home/o/.config/mailtree/config", "/home/o/.cache/mailtree",
		"/home/o/.local/state/mailtree"},
	{NULL, {"/home/o", NULL, NULL, NULL, "/r", "/m/config"}, "/m/config", "/home/o/.cache/mailtree",
		"/home/o/.local/state/mailtree", "/r/mailtree"},
	{NULL, {"/home/o", NULL, NULL, NULL, "/r", ""}, "/home/o/.config/mailtree/config"},
	{"/opt/./config", {"/home/o", NULL, NULL, NULL, "/r", "/m/config"}, "/opt/config"},
};

static void places_set(const char *const *values)
{
	for (size_t i = 0; i < G_N_ELEMENTS(place_variables); i++)
		if (values && values[i])
			g_setenv(place_variables[i], values[i], TRUE);
		else
			g_unsetenv(place_variables[i]);
}

static void test_places(void **state)
{
	char *before[G_N_ELEMENTS(place_variables)];
	struct settings_places places;

	(void)state;
	for (size_t i = 0; i < G_N_ELEMENTS(place_variables); i++)
		before[i] = g_strdup(g_getenv(place_variables[i]));
	for (size_t i = 0; i < G_N_ELEMENTS(place_cases); i++) {
		const struct place_case *c = &place_cases[i];

		places_set(c->values);
		assert_int_equal(settings_places_find(c->option, &places, NULL), 0);
		assert_string_equal(places.config_file, c->config);
		if (c->cache)
			assert_string_equal(places.cache_dir, c->cache);
		if (c->state)
			assert_string_equal(places.state_dir, c->state);
		if (c->runtime)
			assert_string_equal(places.runtime_dir, c->runtime);
		assert_true(g_path_is_absolute(places.runtime_dir));
		settings_places_fini(&places);
	}
	places_set(NULL);
	assert_int_equal(settings_places_find("config", &places, NULL), 0);
	assert_true(g_path_is_absolute(places.config_file));
	if (geteuid() == 0) {
		assert_string_equal(places.cache_dir, "/var/cache/mailtree");
		assert_string_equal(places.state_dir, "/var/lib/mailtree");
		assert_string_equal(places.runtime_dir, "/run/mailtree");
		settings_places_fini(&places);
		assert_int_equal(settings_places_find(NULL, &places, NULL), 0);
		assert_string_equal(places.config_file, "/etc/mailtree/config");
	}
	settings_places_fini(&places);
	places_set((const char *const *)before);
	for (size_t i = 0; i < G_N_ELEMENTS(place_variables); i++)
		g_free(before[i]);
}

/* The table and the manual */

static void test_table(void **state)
{
	static const char *const providers[] = {"outlook", "outlook-personal", "gmail", "generic"};

	(void)state;
	for (size_t i = 0; i < settings_table_length; i++) {
		const struct setting *setting = &settings_table[i];
		struct settings_draft draft = {0};
		struct error err = {0};

		/* the first of its name */
		assert_ptr_equal(settings_table_find(setting->name), setting);
		assert_true(setting->places & IN_CONFIG);
		assert_true((setting->type == SETTING_SECRET) == !(setting->places & IN_OPTIONS));
		assert_true(
			(setting->type == SETTING_WORD || setting->type == SETTING_CHOICE) == !!setting->words[0].word);
		if (setting->standard && settings_value_parse(setting, setting->standard, "/", &draft, &err) != 0)
			fail_msg("%s: %s", setting->name, err.text);
		g_free(draft.s.provider);
		for (size_t p = 0; p < G_N_ELEMENTS(providers); p++) {
			const char *preset = settings_preset(providers[p], setting->name);
			struct settings_draft given = {0};

			if (preset)
				assert_int_equal(settings_value_parse(setting, preset, "/", &given, &err), 0);
			if (preset && (setting->type == SETTING_TEXT || setting->type == SETTING_URL))
				g_free(*(char **)((char *)&given + setting->offset));
		}
	}
}

static char *manual_read(void)
{
	const char *tests = g_getenv("MAILTREE_TESTS");
	g_autofree char *path = g_build_filename(tests ? tests : "tests", "..", "man", "mailtree-config.5", NULL);
	char *text = NULL;

	if (!g_file_get_contents(path, &text, NULL, NULL))
		fail_msg("%s can't be read", path);
	return text;
}

/* Each key stands in a line of its own, `.It Cm KEY …`, that ends in its default where it has one. */
static void test_manual_lists_the_keys(void **state)
{
	g_autofree char *text = manual_read();
	g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
	g_autoptr(GHashTable) listed = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);

	(void)state;
	for (char **line = lines; *line; line++) {
		g_auto(GStrv) words = g_strsplit(*line, " ", -1);
		const struct setting *setting;
		g_autofree char *standard = NULL;

		if (!g_str_has_prefix(*line, ".It Cm "))
			continue;
		setting = settings_table_find(words[2]);
		if (!setting || !g_hash_table_add(listed, g_strdup(words[2])))
			fail_msg("%s: no such key, or twice", *line);
		if (setting->type == SETTING_FLAG)
			assert_null(words[3]);
		standard = setting->standard ? g_strdup_printf(" Pq Cm %s", setting->standard) : NULL;
		if (setting->type != SETTING_FLAG && standard && !g_str_has_suffix(*line, standard))
			fail_msg("%s: the default is %s", *line, setting->standard);
		if (!standard && strstr(*line, " Pq "))
			fail_msg("%s: there is no default", *line);
	}
	for (size_t i = 0; i < settings_table_length; i++)
		if (!g_hash_table_contains(listed, settings_table[i].name))
			fail_msg("%s is missing", settings_table[i].name);
}

static void test_manual_examples_work(void **state)
{
	struct fixture *f = *state;
	g_autofree char *text = manual_read();
	g_auto(GStrv) blocks = g_strsplit(text, ".Bd -literal -offset indent\n", -1);
	unsigned examples = 0;

	for (char **block = blocks + 1; *block; block++) {
		g_autofree char *account = NULL;
		struct settings *settings = NULL;
		struct error err = {0};

		*strstr(*block, "\n.Ed") = '\0';
		if (**block != '[')
			continue;
		account = g_strndup(*block + 1, strcspn(*block, "]") - 1);
		if (load(f, *block, account, NULL, &settings, &err) != 0)
			fail_msg("%s: %s", *block, err.text);
		settings_free(settings);
		examples++;
	}
	assert_in_range(examples, 4, 20);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_accepted),
		TEST(test_refused),
		TEST(test_secret_service_needs_its_library),
		TEST(test_secrets_are_never_quoted),
		TEST(test_accounts),
		TEST(test_every_auth_is_complete),
		TEST(test_config_option),
		TEST(test_reload),
		TEST(test_set_flags),
		TEST(test_files),
		TEST(test_secrets_that_others_can_read),
		TEST(test_groups),
		TEST(test_cut_anywhere),
		TEST(test_places),
		TEST(test_table),
		TEST(test_manual_lists_the_keys),
		TEST(test_manual_examples_work),
	};

	log_init(LOG_LEVEL_ERROR, LOG_TO_STDERR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
