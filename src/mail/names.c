/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names of directories: a server's path component made fit for a file system (contract, "Folders"). */
#include "src/mail/internal.h"

#include <stdio.h>
#include <string.h>

#include "src/base/banned.h"

#define NAME_BYTES_MAX 255u
#define MARK_BYTES 9u /* '~' and 8 hex digits */

static bool is_hex(char c)
{
	return g_ascii_isxdigit(c);
}

/* A name that a message could have: digits before ".eml", alone or behind a dot. */
static bool looks_like_message(const char *name)
{
	size_t length = strlen(name), at;

	if (length < 5 || strcmp(name + length - 4, ".eml") != 0)
		return false;
	at = length - 4;
	while (at > 0 && g_ascii_isdigit(name[at - 1]))
		at--;
	return at < length - 4 && (at == 0 || name[at - 1] == '.');
}

static bool is_maildir_part(const char *name)
{
	return strcmp(name, "cur") == 0 || strcmp(name, "new") == 0 || strcmp(name, "tmp") == 0;
}

static void escape(const char *component, bool maildir, GString *out)
{
	for (const char *at = component; *at; at++) {
		unsigned char c = (unsigned char)*at;
		bool bad = c == '/' || c < 0x20 || c == 0x7f || (c == '%' && is_hex(at[1]) && is_hex(at[2]));

		/* C1 controls in UTF-8 */
		if (c == 0xc2 && (unsigned char)at[1] >= 0x80 && (unsigned char)at[1] < 0xa0) {
			g_string_append_printf(out, "%%C2%%%02X", (unsigned char)at[1]);
			at++;
			continue;
		}
		if (bad)
			g_string_append_printf(out, "%%%02X", c);
		else
			g_string_append_c(out, (char)c);
	}
	if (strcmp(out->str, ".") == 0)
		g_string_assign(out, "%2E");
	else if (strcmp(out->str, "..") == 0)
		g_string_assign(out, "%2E%2E");
	else if (maildir && is_maildir_part(out->str))
		g_string_printf(out, "%%%02X%s", (unsigned char)component[0], component + 1);
}

char *folder_name_make(const char *component, const char *raw, bool maildir, bool clash)
{
	g_autoptr(GString) out = g_string_new(NULL);
	g_autofree char *digest = NULL;

	escape(component, maildir, out);
	if (!clash && out->len > 0 && out->len <= NAME_BYTES_MAX && !looks_like_message(out->str) &&
		strcmp(out->str, ".mailtree") != 0)
		return g_strdup(out->str);
	if (out->len > NAME_BYTES_MAX - MARK_BYTES) {
		size_t cut = NAME_BYTES_MAX - MARK_BYTES;

		/* neither within a character nor within an escape */
		while (cut && ((unsigned char)out->str[cut] & 0xc0) == 0x80)
			cut--;
		for (size_t back = 1; back <= 2 && back <= cut; back++)
			if (out->str[cut - back] == '%' && is_hex(out->str[cut - back + 1])) {
				cut -= back;
				break;
			}
		g_string_truncate(out, cut);
	}
	digest = g_compute_checksum_for_string(G_CHECKSUM_SHA256, raw, -1);
	g_string_append_printf(out, "~%.8s", digest);
	return g_strdup(out->str);
}

/*
 * `*` stops at the delimiter, `**` doesn't; `?` is one character; the end may be followed by children. All ways through
 * the glob at once: the server makes the path, and going back for each star would take it for ever.
 */
static bool glob_match(const char *glob, const char *path, char delimiter)
{
	size_t length = strlen(glob);
	g_autofree bool *here = g_new0(bool, length + 1);
	g_autofree bool *next = g_new0(bool, length + 1);

	here[0] = true;
	for (;; path++) {
		/* a star may stand for nothing */
		for (size_t i = 0; i < length; i++)
			if (here[i] && glob[i] == '*')
				here[i + (glob[i + 1] == '*' ? 2 : 1)] = true;
		if (here[length] && (!*path || *path == delimiter))
			return true;
		if (!*path)
			return false;
		memset(next, 0, (length + 1) * sizeof(*next));
		for (size_t i = 0; i < length; i++) {
			if (!here[i])
				continue;
			if (glob[i] == '*')
				next[i] |= glob[i + 1] == '*' || *path != delimiter;
			else if (glob[i] == '?' ? *path != delimiter : glob[i] == *path)
				next[i + 1] = true;
		}
		memcpy(here, next, (length + 1) * sizeof(*here));
	}
}

bool tree_glob_match(const char *glob, const char *path, char delimiter)
{
	/* INBOX is INBOX in any case */
	if (g_ascii_strncasecmp(glob, "INBOX", 5) == 0 && g_ascii_strncasecmp(path, "INBOX", 5) == 0 &&
		(glob[5] == '\0' || glob[5] == delimiter) && (path[5] == '\0' || path[5] == delimiter))
		return glob_match(glob + 5, path + 5, delimiter ? delimiter : '/');
	return glob_match(glob, path, delimiter ? delimiter : '/');
}
