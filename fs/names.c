/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fs/names.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "src/base/banned.h"

#define SUFFIX ".eml"
#define SUFFIX_BYTES (sizeof(SUFFIX) - 1)
#define UID_DIGITS_MAX 10u
#define DATE_BYTES 15u           /* YYYY-MM-DDTHHMM */
#define DATE_LAST 253402300799ll /* 9999-12-31: the last day with a year of four digits */

static size_t uid_format(uint32_t uid, char digits[UID_DIGITS_MAX])
{
	char reversed[UID_DIGITS_MAX];
	size_t count = 0;

	do {
		reversed[count++] = (char)('0' + uid % 10);
		uid /= 10;
	} while (uid);
	for (size_t i = 0; i < count; i++)
		digits[i] = reversed[count - 1 - i];
	return count;
}

static void pair_format(int value, char *out)
{
	out[0] = (char)('0' + value / 10 % 10);
	out[1] = (char)('0' + value % 10);
}

static void date_format(int64_t date, char out[DATE_BYTES])
{
	time_t seconds = (time_t)CLAMP(date, 0, DATE_LAST);
	struct tm tm = {0};

	gmtime_r(&seconds, &tm);
	pair_format((tm.tm_year + 1900) / 100, out);
	pair_format((tm.tm_year + 1900) % 100, out + 2);
	out[4] = '-';
	pair_format(tm.tm_mon + 1, out + 5);
	out[7] = '-';
	pair_format(tm.tm_mday, out + 8);
	out[10] = 'T';
	pair_format(tm.tm_hour, out + 11);
	pair_format(tm.tm_min, out + 13);
}

/* Length of `text` cut to `room` bytes without cutting a character in two. */
static size_t cut_length(const char *text, size_t length, size_t room)
{
	if (length <= room)
		return length;
	while (room && ((unsigned char)text[room] & 0xC0) == 0x80)
		room--;
	return room;
}

size_t names_compose_uid(uint32_t uid, char name_out[NAMES_BYTES_MAX + 1])
{
	size_t length = uid_format(uid, name_out);

	memcpy(name_out + length, SUFFIX, SUFFIX_BYTES + 1);
	return length + SUFFIX_BYTES;
}

size_t names_compose(const struct mail_message *message, bool uid_only, char name_out[NAMES_BYTES_MAX + 1])
{
	if (uid_only)
		return names_compose_uid(message->uid, name_out);

	char digits[UID_DIGITS_MAX];
	size_t digits_length = uid_format(message->uid, digits);
	size_t room = NAMES_BYTES_MAX - DATE_BYTES - 2 - digits_length - SUFFIX_BYTES;
	const char *stem = message->stem[0] ? message->stem : "unknown_no-subject";
	size_t stem_length = cut_length(stem, strnlen(stem, MAIL_STEM_MAX), room);
	char *out = name_out;

	date_format(message->date, out);
	out += DATE_BYTES;
	*out++ = '_';
	/* The stem was made safe when it was stored; an index from elsewhere still can't leave its directory. */
	for (size_t i = 0; i < stem_length; i++) {
		unsigned char byte = (unsigned char)stem[i];

		*out++ = byte < 0x20 || byte == 0x7F || byte == '/' ? '-' : (char)byte;
	}
	*out++ = '.';
	memcpy(out, digits, digits_length);
	out += digits_length;
	memcpy(out, SUFFIX, SUFFIX_BYTES + 1);
	out += SUFFIX_BYTES;
	return (size_t)(out - name_out);
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

bool names_parse(const char *name, uint32_t *uid_out)
{
	size_t length = strlen(name);

	if (length <= SUFFIX_BYTES || strcmp(name + length - SUFFIX_BYTES, SUFFIX) != 0 || !is_digit(name[0]))
		return false;

	size_t end = length - SUFFIX_BYTES;
	size_t start = end;
	uint64_t uid = 0;

	while (start && is_digit(name[start - 1]))
		start--;
	if (start == end || end - start > UID_DIGITS_MAX || name[start] == '0')
		return false;
	if (start && name[start - 1] != '.')
		return false;
	for (size_t i = start; i < end; i++)
		uid = uid * 10 + (uint64_t)(name[i] - '0');
	if (uid > UINT32_MAX)
		return false;
	*uid_out = (uint32_t)uid;
	return true;
}

bool names_match(const char *name, const struct mail_message *message, bool uid_only)
{
	char own[NAMES_BYTES_MAX + 1];

	names_compose_uid(message->uid, own);
	if (strcmp(name, own) == 0)
		return true;
	if (uid_only)
		return false;
	names_compose(message, false, own);
	return strcmp(name, own) == 0;
}
