/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names of messages with layout=maildir. */
#include "fs/names.h"

#include <stdio.h>
#include <string.h>

#include "src/base/banned.h"

#define FOLDER_MARK ".F"
#define FOLDER_DIGITS 8u
#define UID_MARK 'U'
#define UID_DIGITS_MAX 10u
#define HOST ".mailtree"
#define INFO ":2,"

static const char *const parts[] = {"cur", "new", "tmp"};

const char *names_maildir_part(enum names_maildir_part part)
{
	return parts[part - 1];
}

enum names_maildir_part names_maildir_part_find(const char *name)
{
	for (int i = 0; i < NAMES_MAILDIR_PARTS; i++)
		if (strcmp(name, parts[i]) == 0)
			return (enum names_maildir_part)(i + 1);
	return 0;
}

/* In the order of ASCII, as programs write and compare them. */
static const struct {
	uint32_t flag;
	char letter;
} letters[] = {
	{MAIL_DRAFT, 'D'},
	{MAIL_FLAGGED, 'F'},
	{MAIL_FORWARDED, 'P'},
	{MAIL_ANSWERED, 'R'},
	{MAIL_SEEN, 'S'},
	{MAIL_DELETED, 'T'},
};

static size_t unique_compose(
	const struct mail_message *message, uint32_t message_number, char name_out[NAMES_BYTES_MAX + 1])
{
	return (size_t)snprintf(name_out, NAMES_BYTES_MAX + 1, "%lld" FOLDER_MARK "%08x%c%u" HOST,
		(long long)MAX(message->date, 0), message_number, UID_MARK, message->uid);
}

size_t names_maildir_compose(
	const struct mail_message *message, uint32_t message_number, char name_out[NAMES_BYTES_MAX + 1])
{
	size_t length = unique_compose(message, message_number, name_out);

	memcpy(name_out + length, INFO, sizeof(INFO));
	length += sizeof(INFO) - 1;
	for (size_t i = 0; i < G_N_ELEMENTS(letters); i++)
		if (message->flags & letters[i].flag)
			name_out[length++] = letters[i].letter;
	name_out[length] = '\0';
	return length;
}

/* ":2," and letters that we know, each once and in their order. */
static bool is_info(const char *text)
{
	size_t at = 0;

	if (strncmp(text, INFO, sizeof(INFO) - 1) != 0)
		return false;
	for (text += sizeof(INFO) - 1; *text; text++) {
		while (at < G_N_ELEMENTS(letters) && letters[at].letter != *text)
			at++;
		if (at++ == G_N_ELEMENTS(letters))
			return false;
	}
	return true;
}

bool names_maildir_parse(const char *name, uint32_t *uid_out)
{
	size_t digits = strspn(name, "0123456789"), count;
	const char *at = name + digits;
	uint64_t uid = 0;

	if (!digits || strncmp(at, FOLDER_MARK, sizeof(FOLDER_MARK) - 1) != 0)
		return false;
	at += sizeof(FOLDER_MARK) - 1;
	if (strspn(at, "0123456789abcdef") != FOLDER_DIGITS || at[FOLDER_DIGITS] != UID_MARK)
		return false;
	at += FOLDER_DIGITS + 1;
	count = strspn(at, "0123456789");
	if (!count || count > UID_DIGITS_MAX || *at == '0')
		return false;
	for (; count; count--)
		uid = uid * 10 + (uint64_t)(*at++ - '0');
	if (uid > UINT32_MAX || strncmp(at, HOST, sizeof(HOST) - 1) != 0)
		return false;
	at += sizeof(HOST) - 1;
	if (*at && !is_info(at))
		return false;
	*uid_out = (uint32_t)uid;
	return true;
}

enum names_likeness names_maildir_match(const char *name, const struct mail_message *message, uint32_t message_number)
{
	char own[NAMES_BYTES_MAX + 1];
	size_t unique;

	names_maildir_compose(message, message_number, own);
	if (strcmp(name, own) == 0)
		return NAMES_LISTED;
	unique = unique_compose(message, message_number, own);
	if (strncmp(name, own, unique) == 0 && (!name[unique] || is_info(name + unique)))
		return NAMES_ALIAS;
	names_compose_uid(message->uid, own);
	return strcmp(name, own) == 0 ? NAMES_ALIAS : NAMES_OTHER;
}
