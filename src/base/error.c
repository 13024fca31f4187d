/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/base/error.h"
#include "src/base/log.h"
#include "src/base/secret.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "src/base/banned.h"

static const struct {
	int code;
	int error_number;
	int exit_status;
	const char *name;
} codes[] = {
	{0, 0, 0, "ok"},
	{ERR_SIGN_IN, EACCES, 3, "sign-in"},
	{ERR_UNREACHABLE, ENETUNREACH, 4, "unreachable"},
	{ERR_TIMEOUT, ETIMEDOUT, 4, "timeout"},
	{ERR_THROTTLED, ETIMEDOUT, 4, "throttled"},
	{ERR_BROKEN, EIO, 1, "broken"},
	{ERR_PROTOCOL, EIO, 1, "protocol"},
	{ERR_GONE, ENOENT, 1, "gone"},
	{ERR_READ_ONLY, EROFS, 1, "read-only"},
	{ERR_QUOTA, EDQUOT, 1, "quota"},
	{ERR_INTERRUPTED, EINTR, 1, "interrupted"},
	{ERR_STORAGE, EIO, 1, "storage"},
	{ERR_INVALID, EINVAL, 1, "invalid"},
	{ERR_CONFIG, EINVAL, 5, "config"},
	{ERR_USAGE, EINVAL, 2, "usage"},
	{ERR_RENUMBERED, ESTALE, 1, "renumbered"},
	{ERR_REFUSED, EIO, 1, "refused"},
	{ERR_FAILED, EIO, 1, "failed"},
};

static void error_clean(char *text, size_t size)
{
	secret_scrub(text, size);
	log_clean(text);
}

int error_set(struct error *err, int code, const char *format, ...)
{
	va_list args;

	if (!err)
		return code;
	err->code = code;
	err->hint[0] = '\0';
	va_start(args, format);
	vsnprintf(err->text, sizeof(err->text), format, args);
	va_end(args);
	error_clean(err->text, sizeof(err->text));
	return code;
}

void error_hint(struct error *err, const char *format, ...)
{
	va_list args;

	if (!err)
		return;
	va_start(args, format);
	vsnprintf(err->hint, sizeof(err->hint), format, args);
	va_end(args);
	error_clean(err->hint, sizeof(err->hint));
}

void error_prefix(struct error *err, const char *format, ...)
{
	char text[ERROR_TEXT_MAX];
	va_list args;
	size_t used;

	if (!err)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	used = strlen(text);
	g_snprintf(text + used, sizeof(text) - used, ": %s", err->text);
	memcpy(err->text, text, sizeof(text));
	error_clean(err->text, sizeof(err->text));
}

void error_copy(struct error *to, const struct error *from)
{
	if (to && from)
		*to = *from;
}

int error_errno(int code)
{
	for (size_t i = 0; i < G_N_ELEMENTS(codes); i++)
		if (codes[i].code == code)
			return codes[i].error_number;
	return EIO;
}

int error_exit_status(int code)
{
	for (size_t i = 0; i < G_N_ELEMENTS(codes); i++)
		if (codes[i].code == code)
			return codes[i].exit_status;
	return 1;
}

const char *error_name(int code)
{
	for (size_t i = 0; i < G_N_ELEMENTS(codes); i++)
		if (codes[i].code == code)
			return codes[i].name;
	return "failed";
}
