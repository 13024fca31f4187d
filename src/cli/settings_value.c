/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/cli/settings_table.h"

#include <glib.h>
#include <string.h>

#include "src/base/banned.h"

static bool number_parse(const char *text, unsigned base, uint64_t max, uint64_t *number_out)
{
	return g_ascii_string_to_unsigned(text, base, 0, max, number_out, NULL);
}

bool settings_size_parse(const char *text, uint64_t *bytes_out)
{
	static const char units[] = "KMGT";
	g_autofree char *digits = g_strdup(text);
	size_t length = strlen(digits);
	const char *unit = length ? strchr(units, g_ascii_toupper(digits[length - 1])) : NULL;
	unsigned shift = 0;
	uint64_t number;

	if (unit && *unit) {
		digits[length - 1] = '\0';
		shift = 10 * (unsigned)(unit - units + 1);
	}
	if (!number_parse(digits, 10, G_MAXINT64 >> shift, &number))
		return false;
	*bytes_out = number << shift;
	return true;
}

static char *path_absolute(const char *value, const char *directory)
{
	const char *home = g_getenv("HOME");

	if (g_str_has_prefix(value, "~/") && home && *home)
		return g_canonicalize_filename(value + 2, home);
	return g_canonicalize_filename(value, directory);
}

/* NULL when nothing is in it. */
static char **globs_split(const char *value)
{
	g_auto(GStrv) parts = g_strsplit(value, ";", -1);
	g_autoptr(GStrvBuilder) globs = g_strv_builder_new();
	char **result;

	for (char **part = parts; *part; part++)
		if (*g_strstrip(*part))
			g_strv_builder_add(globs, *part);
	result = g_strv_builder_end(globs);
	if (!*result)
		g_clear_pointer(&result, g_strfreev);
	return result;
}

static int flag_parse(const char *value)
{
	static const char *const words[] = {"false", "true", "no", "yes", "off", "on", "0", "1"};

	for (size_t i = 0; i < G_N_ELEMENTS(words); i++)
		if (g_ascii_strcasecmp(value, words[i]) == 0)
			return (int)(i % 2);
	return -1;
}

static const struct setting_word *word_find(const struct setting *setting, const char *value)
{
	const struct setting_word *word = setting->words;

	while (word->word && g_ascii_strcasecmp(word->word, value) != 0)
		word++;
	return word->word ? word : NULL;
}

static int words_error(const struct setting *setting, struct error *err)
{
	g_autoptr(GString) list = g_string_new(NULL);

	for (const struct setting_word *word = setting->words; word->word; word++)
		g_string_append_printf(list, "%s%s", !list->len ? "" : word[1].word ? ", " : " or ", word->word);
	return error_set(err, ERR_CONFIG, "expected %s", list->str);
}

static int range_error(const struct setting *setting, struct error *err)
{
	return error_set(err, ERR_CONFIG, "expected a number from %u to %u%s", setting->min, setting->max,
		setting->type == SETTING_STALE ? ", or never" : "");
}

int settings_value_parse(const struct setting *setting, const char *value, const char *directory,
	struct settings_draft *draft, struct error *err)
{
	void *at = (char *)draft + setting->offset;
	const struct setting_word *word;
	uint64_t number;
	int flag;

	for (const char *c = value; *c; c++)
		if (g_ascii_iscntrl(*c))
			return error_set(err, ERR_CONFIG, "contains a control character");
	if (!*value && setting->type != SETTING_GLOBS)
		return error_set(err, ERR_CONFIG, "is empty: give a value, or leave the key out");
	switch (setting->type) {
	case SETTING_TEXT:
		*(char **)at = g_strdup(value);
		return 0;
	case SETTING_SECRET:
		*(char **)at = g_strdup(value);
		return 0;
	case SETTING_PATH:
		*(char **)at = path_absolute(value, directory);
		return 0;
	case SETTING_URL:
		*(char **)at = g_strdup(value);
		return auth_url_check(value, err);
	case SETTING_GLOBS:
		*(char ***)at = globs_split(value);
		return 0;
	case SETTING_FLAG:
		flag = flag_parse(value);
		*(bool *)at = flag == 1;
		return flag >= 0 ? 0 : error_set(err, ERR_CONFIG, "expected true or false");
	case SETTING_WORD:
	case SETTING_CHOICE:
		word = word_find(setting, value);
		if (!word)
			return words_error(setting, err);
		if (setting->type == SETTING_CHOICE)
			*(bool *)at = word->value != 0;
		else
			*(unsigned *)at = (unsigned)word->value; /* an enum without negative values */
		return 0;
	case SETTING_NUMBER:
		if (!number_parse(value, 10, setting->max, &number) || number < setting->min)
			return range_error(setting, err);
		*(uint32_t *)at = (uint32_t)number;
		return 0;
	case SETTING_STALE:
		if (g_ascii_strcasecmp(value, "never") == 0) {
			*(int64_t *)at = -1;
			return 0;
		}
		if (!number_parse(value, 10, setting->max, &number))
			return range_error(setting, err);
		*(int64_t *)at = (int64_t)number;
		return 0;
	case SETTING_SIZE:
		if (!settings_size_parse(value, at))
			return error_set(err, ERR_CONFIG, "expected bytes, such as 512K, 2000M or 2G; 0 = no bound");
		return 0;
	case SETTING_ID:
		/* the largest is (uid_t)-1, which chown() takes for "leave it" */
		if (!number_parse(value, 10, G_MAXUINT32 - 1, &number))
			return error_set(err, ERR_CONFIG, "expected a numeric id");
		*(uid_t *)at = (uid_t)number;
		return 0;
	case SETTING_OCTAL:
		if (!number_parse(value, 8, 0777, &number))
			return error_set(err, ERR_CONFIG, "expected an octal mode, such as 077");
		*(mode_t *)at = (mode_t)number;
		return 0;
	}
	return error_set(err, ERR_CONFIG, "can't be set");
}
