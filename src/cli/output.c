/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/cli/output.h"
#include "src/base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "src/base/banned.h"

static int output_failed(struct error *err)
{
	int cause = errno;

	error_set(err, ERR_FAILED, "standard output: %s", g_strerror(cause));
	if (cause == EPIPE && err)
		err->text[0] = '\0';
	return ERR_FAILED;
}

int output_write(const char *bytes, size_t length, struct error *err)
{
	return fwrite(bytes, 1, length, stdout) == length ? 0 : output_failed(err);
}

int output_print(struct error *err, const char *format, ...)
{
	g_autofree char *text = NULL;
	va_list args;

	va_start(args, format);
	text = g_strdup_vprintf(format, args);
	va_end(args);
	return output_write(text, strlen(text), err);
}

int output_flush(struct error *err)
{
	return fflush(stdout) == 0 ? 0 : output_failed(err);
}

bool output_is_terminal(void)
{
	return isatty(STDOUT_FILENO);
}

int output_columns(void)
{
	struct winsize size;

	if (!output_is_terminal())
		return 0;
	return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;
}

static int character_width(gunichar c)
{
	if (g_unichar_iszerowidth(c))
		return 0;
	return g_unichar_iswide(c) ? 2 : 1;
}

char *output_cell(const char *text, int columns, bool pad)
{
	g_autofree char *clean = g_strdup(text);
	GString *cell = g_string_new(NULL);
	int used = 0;

	log_clean(clean);
	for (const char *at = clean; *at; at = g_utf8_next_char(at)) {
		gunichar c = g_utf8_get_char(at);
		int width = character_width(c);

		if (columns && used + width > columns)
			break;
		g_string_append_unichar(cell, c);
		used += width;
	}
	for (; pad && used < columns; used++)
		g_string_append_c(cell, ' ');
	return g_string_free(cell, FALSE);
}

char *output_size(double bytes)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
	size_t unit = 0;

	while (bytes >= 1024 && unit + 1 < G_N_ELEMENTS(units)) {
		bytes /= 1024;
		unit++;
	}
	return g_strdup_printf(unit && bytes < 100 ? "%.1f %s" : "%.0f %s", bytes, units[unit]);
}

const char *output_member_text(const cJSON *object, const char *key)
{
	return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, key));
}

double output_member_number(const cJSON *object, const char *key)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);

	return cJSON_IsNumber(item) ? item->valuedouble : -1;
}
