/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The log: standard error in the foreground, syslog when daemonised. Each line is one event,
 * scrubbed of secrets and control characters. Levels: error and warning are always written, info
 * by `-v`, debug by `-d`. Any thread.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
enum log_target { LOG_TO_STDERR, LOG_TO_SYSLOG };

struct error;

void log_init(enum log_level level, enum log_target target);
bool log_enabled(enum log_level level);
void log_write(enum log_level level, const char *format, ...) G_GNUC_PRINTF(2, 3);

#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...) log_write(LOG_LEVEL_INFO, __VA_ARGS__)
/* Arguments aren't evaluated when debug is off: protocol lines are logged on hot paths. */
#define log_debug(...)                                                                                                 \
	do {                                                                                                           \
		if (log_enabled(LOG_LEVEL_DEBUG))                                                                      \
			log_write(LOG_LEVEL_DEBUG, __VA_ARGS__);                                                       \
	} while (0)

/* `text` in place: every C0, DEL, C1 control and invalid UTF-8 byte becomes '?'. */
void log_clean(char *text);
