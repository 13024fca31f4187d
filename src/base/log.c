/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/base/log.h"
#include "src/base/secret.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include "src/base/banned.h"

/* One line of the log; what is longer is cut. */
#define LINE_MAX_BYTES 2048

static atomic_int log_level = LOG_LEVEL_WARNING;
static atomic_int log_target = LOG_TO_STDERR;

void log_init(enum log_level level, enum log_target target)
{
	atomic_store(&log_level, level);
	atomic_store(&log_target, target);
	if (target == LOG_TO_SYSLOG)
		openlog("mailtree", LOG_PID, LOG_DAEMON);
}

bool log_enabled(enum log_level level)
{
	return (int)level <= atomic_load_explicit(&log_level, memory_order_relaxed);
}

void log_clean(char *text)
{
	char *at = text;

	while (*at) {
		gunichar c = g_utf8_get_char_validated(at, -1);
		gboolean valid = c != (gunichar)-1 && c != (gunichar)-2;

		if (!valid) {
			*at++ = '?';
			continue;
		}
		if (c < 0x20 || c == 0x7f) {
			*at++ = '?';
			continue;
		}
		if ((c >= 0x80 && c < 0xa0) || c == 0x2028 || c == 0x2029 || (c >= 0x202a && c <= 0x202e) ||
			(c >= 0x2066 && c <= 0x2069)) {
			/* C1 controls, line ends and direction overrides are two or three bytes */
			int bytes = g_utf8_skip[(guchar)*at];

			memset(at, '?', (size_t)bytes);
			at += bytes;
			continue;
		}
		at += g_utf8_skip[(guchar)*at];
	}
}

void log_write(enum log_level level, const char *format, ...)
{
	static const int priorities[] = {LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG};
	char line[LINE_MAX_BYTES];
	va_list args;

	if (!log_enabled(level))
		return;
	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	secret_scrub(line, sizeof(line));
	log_clean(line);
	if (atomic_load(&log_target) == LOG_TO_SYSLOG) {
		syslog(priorities[level], "%s", line);
		return;
	}
	/* one write a line, so that lines of two processes don't mix */
	char out[LINE_MAX_BYTES + 64];
	int length = snprintf(out, sizeof(out), "mailtree: %s%s\n",
		level == LOG_LEVEL_WARNING ? "warning: "
		: level == LOG_LEVEL_DEBUG ? "debug: "
					   : "",
		line);

	if (length > 0 && write(STDERR_FILENO, out, MIN((size_t)length, sizeof(out) - 1)) < 0)
		return; /* nobody is left to tell */
}
