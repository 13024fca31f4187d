/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Extended attributes of messages, from the local index. */
#include "fs/ops.h"

#include "fs/node.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "src/base/banned.h"

enum xattr { UID, FLAGS, FROM, TO, SUBJECT, DATE, MESSAGE_ID, FOLDER, XATTRS };

static const char *const xattr_names[XATTRS] = {
	"user.mail.uid",
	"user.mail.flags",
	"user.mail.from",
	"user.mail.to",
	"user.mail.subject",
	"user.mail.date",
	"user.mail.message-id",
	"user.mail.folder",
};

static char *flags_text(const struct mail_message *message, const char *keywords)
{
	GString *text = g_string_new(NULL);

	for (size_t i = 0; i < G_N_ELEMENTS(mail_flag_words); i++) {
		if (!(message->flags & mail_flag_words[i].flag))
			continue;
		g_string_append_printf(text, "%s%s", text->len ? " " : "", mail_flag_words[i].word);
	}
	if (keywords && keywords[0])
		g_string_append_printf(text, "%s%s", text->len ? " " : "", keywords);
	return g_string_free(text, FALSE);
}

static char *date_text(int64_t date)
{
	time_t seconds = (time_t)date;
	struct tm tm = {0};
	char text[40] = "";

	gmtime_r(&seconds, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	return g_strdup(text);
}

/* Cut on a character boundary: what is longer than an attribute may be isn't refused, its beginning still helps. */
static char *bounded(char *text)
{
	if (text && strlen(text) > OPS_XATTR_BYTES_MAX) {
		size_t length = OPS_XATTR_BYTES_MAX;

		while (length && ((unsigned char)text[length] & 0xC0) == 0x80)
			length--;
		text[length] = '\0';
	}
	return text;
}

static char *detail_text(const struct mail_message *message, enum xattr which, struct mail_details *details)
{
	switch (which) {
	case FLAGS:
		return flags_text(message, details->keywords);
	case FROM:
		return g_strdup(details->from);
	case TO:
		return g_strdup(details->to);
	case SUBJECT:
		return g_strdup(details->subject);
	case MESSAGE_ID:
		return g_strdup(details->message_id);
	default:
		return NULL;
	}
}

static int value_of(struct ops *ops, const struct node *node, enum xattr which, char **value_out)
{
	struct mail_message message;
	struct mail_details details = {0};
	int code;

	if (!mail_message_find(ops->mail, node->folder, node->uid, &message))
		return -ENOENT;
	switch (which) {
	case UID:
		*value_out = g_strdup_printf("%u", message.uid);
		return 0;
	case DATE:
		*value_out = date_text(message.date);
		return 0;
	case FOLDER:
		*value_out = bounded(mail_folder_path(ops->mail, node->folder));
		return 0;
	default:
		break;
	}
	code = mail_message_details(ops->mail, node->folder, node->uid, &details, NULL);
	if (code < 0)
		return -error_errno(code);
	*value_out = bounded(detail_text(&message, which, &details));
	mail_details_fini(&details);
	return *value_out ? 0 : -ENODATA;
}

int ops_getxattr(struct ops *ops, uint64_t ino, const char *name, char **value_out)
{
	struct node node;
	enum xattr which = 0;
	int result = -ENODATA;

	*value_out = NULL;
	while (which < XATTRS && strcmp(name, xattr_names[which]) != 0)
		which++;
	if (which == XATTRS)
		return -ENODATA;
	if (!node_resolve(ops->mail, ino, &node))
		return -ENOENT;
	if (node.kind == NODE_MESSAGE)
		result = value_of(ops, &node, which, value_out);
	node_fini(&node);
	return result;
}

/* Only what has a value: copying tools take a listed name without one for an error. */
int ops_listxattr(struct ops *ops, uint64_t ino, char **names_out, size_t *length_out)
{
	struct node node;
	GString *list = g_string_new(NULL);
	int result = 0;

	if (!node_resolve(ops->mail, ino, &node))
		result = -ENOENT;
	for (enum xattr which = 0; result == 0 && node.kind == NODE_MESSAGE && which < XATTRS; which++) {
		g_autofree char *value = NULL;
		int found = value_of(ops, &node, which, &value);

		if (found == 0)
			g_string_append_len(list, xattr_names[which], (gssize)strlen(xattr_names[which]) + 1);
		else if (found != -ENODATA)
			result = found;
	}
	node_fini(&node);
	*length_out = list->len;
	*names_out = g_string_free(list, FALSE);
	return result;
}
