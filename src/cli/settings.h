/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Settings of one account: the configuration file's group, the provider's preset, then `-o` options, all
 * from one table (settings_table.c) that names each key, its type, its default and whether it is also a mount option.
 * docs: man/mailtree-config.5 lists the same keys; a test compares the two.
 *
 * Errors are ERR_CONFIG and name the file, the line and the key, or the mount option
 * ("/home/olena/.config/mailtree/config:7: [work] sizs: no such key" with the hint "did you mean `sizes`?").
 */
#pragma once

#include "src/auth/auth.h"
#include "src/base/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum settings_sizes { SIZES_AUTO, SIZES_EXACT, SIZES_TRUST };
enum settings_tls { TLS_IMPLICIT, TLS_STARTTLS, TLS_NONE };
enum settings_sasl { SASL_AUTO, SASL_XOAUTH2, SASL_OAUTHBEARER, SASL_PLAIN, SASL_LOGIN };
enum settings_names { NAMES_DATE, NAMES_UID };
enum settings_layout { LAYOUT_PLAIN, LAYOUT_MAILDIR };

/* Where things live (contract, Program). All absolute, owned. */
struct settings_places {
	char *config_file, *cache_dir, *state_dir, *runtime_dir;
};
/* From --config, $MAILTREE_CONFIG, XDG variables, HOME, or the system's places for root without HOME. */
int settings_places_find(const char *config_option, struct settings_places *places_out, struct error *err);
void settings_places_fini(struct settings_places *places);

struct settings {
	char *account; /* as given: GROUP or GROUP:ADDRESS */
	char *group;
	char *config_file;                     /* the one that it was read from */
	char *options, *directory, *state_dir; /* what settings_auth_reload() starts from */
	char *provider;
	char *user;
	char *host;
	uint16_t port;
	enum settings_tls tls;
	char *ca_file;
	enum settings_sasl sasl;
	char **folders, **exclude; /* globs; NULL = all / none */
	uint32_t connections;
	char *cache_dir;
	uint64_t cache_size; /* bytes, 0 = no bound */
	enum settings_sizes sizes;
	uint32_t timeout_s, poll_s, throttle_wait_s;
	int64_t stale_s; /* -1 = never */
	bool broken_stub;
	bool eol_lf;
	uint64_t bwlimit;     /* bytes a second, 0 = none */
	uint64_t daily_bytes; /* 0 = none */
	char *notify_command;
	struct auth_config auth; /* complete: auth_new() takes it over */

	/* mount options */
	bool write, read_only, offline, xattr, noprefetch, allow_other, allow_root;
	enum settings_names names;
	enum settings_layout layout;
	uid_t uid;
	gid_t gid;
	bool uid_set, gid_set, umask_set;
	mode_t umask;
};

/*
 * Reads ACCOUNT from places->config_file, applies `options` ("a,b=c", NULL = none: mount(8)'s words are ignored as the
 * contract lists; `config=` overrides the file; `\,` is a comma in a value). Only regular files with mode bits that
 * keep secrets (a literal client_secret/password in a file that others can read is an error with a hint) are read.
 */
int settings_load(const struct settings_places *places, const char *account, const char *options,
	struct settings **settings_out, struct error *err);
void settings_free(struct settings *settings);
/*
 * An auth_reload_fn, to be set with settings->config_file; `ctx` is the struct settings that the auth was made from. A
 * secret that belongs to the old server isn't sent to a new one: with another host, port or tls it fails.
 */
int settings_auth_reload(void *ctx, struct auth_config *config_out, struct error *err);
/* Names of all groups; g_strfreev. */
char **settings_groups(const struct settings_places *places, struct error *err);
