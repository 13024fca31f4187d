/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The table behind settings.h: each key once, with its type, where its value goes, its default, and where it may
 * stand. The loader, the checks and the documentation's test all walk it.
 */
#pragma once

#include "src/cli/settings.h"

#include <stddef.h>

enum setting_type {
	SETTING_TEXT,   /* char * */
	SETTING_SECRET, /* char *, never shown, never on a command line, only in files that keep secrets */
	SETTING_PATH,   /* char *, made absolute */
	SETTING_URL,    /* char *, https or loopback */
	SETTING_FLAG,   /* bool */
	SETTING_WORD,   /* an enum, by `words` */
	SETTING_CHOICE, /* bool, by `words` */
	SETTING_NUMBER, /* uint32_t within min and max */
	SETTING_STALE,  /* int64_t seconds, `never` = -1 */
	SETTING_SIZE,   /* uint64_t bytes */
	SETTING_GLOBS,  /* char **, NULL when empty */
	SETTING_ID,     /* uid_t or gid_t */
	SETTING_OCTAL,  /* mode_t */
};

enum setting_place {
	IN_CONFIG = 1,
	IN_OPTIONS = 2,
	IN_BOTH = IN_CONFIG | IN_OPTIONS,
};

struct setting_word {
	const char *word;
	int value;
};

#define SETTING_WORDS_MAX 6

struct setting {
	const char *name;
	enum setting_type type;
	enum setting_place places;
	size_t offset;        /* in struct settings_draft */
	const char *standard; /* the default; NULL = unset */
	uint32_t min, max;
	struct setting_word words[SETTING_WORDS_MAX + 1]; /* ended by NULL */
};

/* A struct settings and what it is composed from. */
struct settings_draft {
	struct settings s;
	char *authority, *tenant;
	uint32_t port; /* 0 = by `tls` */
};

extern const struct setting settings_table[];
extern const size_t settings_table_length;

/* NULL = no such key. */
const struct setting *settings_table_find(const char *name);
/* The known key that looks most like `name`, or NULL when none does. `places`: where it must be allowed. */
const char *settings_table_guess(const char *name, enum setting_place places);

/* A preset's value of a key; NULL = it has none. `provider` is one of the provider words. */
const char *settings_preset(const char *provider, const char *key);

/*
 * Stores `value` where the table says. `directory` is what relative paths start
 * from. On failure, ERR_CONFIG with the form that was expected as the whole text; a secret's value is never quoted.
 */
int settings_value_parse(const struct setting *setting, const char *value, const char *directory,
	struct settings_draft *draft, struct error *err);
/* Fails for everything but decimal digits with K, M, G or T behind them. */
bool settings_size_parse(const char *text, uint64_t *bytes_out);
