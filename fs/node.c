/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fs/node.h"

#include "fs/control.h"

#include "src/base/banned.h"

uint64_t node_folder_ino(uint32_t number)
{
	return number ? (uint64_t)number << 32 : NODE_ROOT_INO;
}

uint64_t node_maildir_ino(uint32_t number, enum names_maildir_part part)
{
	return (uint64_t)number << 32 | part;
}

uint64_t node_message_ino(uint32_t message_number, uint32_t uid)
{
	return (uint64_t)message_number << 32 | uid;
}

uint64_t node_text_folder_ino(uint32_t number)
{
	return number ? NODE_GENERATED | node_folder_ino(number) : NODE_TEXT_ROOT;
}

uint64_t node_text_ino(uint32_t message_number, uint32_t uid)
{
	return NODE_GENERATED | node_message_ino(message_number, uid);
}

/* FNV-1a of 64 bits. */
uint64_t node_hash_ino(const char *what)
{
	uint64_t hash = 14695981039346656037ull;

	for (const char *at = what; *at; at++)
		hash = (hash ^ (unsigned char)*at) * 1099511628211ull;
	/* Folder number 0 belongs to those above. */
	return NODE_GENERATED | hash | (hash >> 32 & 0x7fffffff ? 0 : 1ull << 32);
}

static bool resolve_generated(struct mail *mail, uint64_t ino, struct node *node_out);

bool node_resolve(struct mail *mail, uint64_t ino, struct node *node_out)
{
	bool is_message_number = false;

	*node_out = (struct node){.ino = ino};
	if (ino & NODE_GENERATED)
		return resolve_generated(mail, ino, node_out);
	if (ino == NODE_ROOT_INO) {
		node_out->folder = mail_root(mail);
		return node_out->folder != NULL;
	}
	node_out->folder = mail_folder_by_number(mail, (uint32_t)(ino >> 32), &is_message_number);
	node_out->uid = (uint32_t)ino;
	node_out->kind = is_message_number && node_out->uid                          ? NODE_MESSAGE
	                 : node_out->uid == 0 || node_out->uid > NAMES_MAILDIR_PARTS ? NODE_FOLDER
	                                                                             : NODE_MAILDIR_PART;
	/* A renumbered folder's old messages may still be asked for: their number is nobody's, or means something else.
	 */
	if (node_out->folder && (is_message_number ? node_out->uid == 0 : node_out->uid > NAMES_MAILDIR_PARTS)) {
		mail_folder_unref(node_out->folder);
		node_out->folder = NULL;
	}
	return node_out->folder != NULL;
}

/* Text has the numbers of what it is made from. */
static bool resolve_text(struct mail *mail, uint64_t ino, struct node *node_out)
{
	bool found = node_resolve(mail, ino == NODE_TEXT_ROOT ? NODE_ROOT_INO : ino & ~NODE_GENERATED, node_out);

	/* cur, new and tmp of the other layout have no text */
	if (found && node_out->kind == NODE_MAILDIR_PART) {
		node_fini(node_out);
		found = false;
	}
	node_out->ino = ino;
	node_out->kind = node_out->kind == NODE_MESSAGE ? NODE_TEXT : NODE_TEXT_FOLDER;
	return found;
}

static bool resolve_generated(struct mail *mail, uint64_t ino, struct node *node_out)
{
	if (ino == NODE_TEXT_ROOT || (ino & ~NODE_GENERATED) >> 32)
		return resolve_text(mail, ino, node_out);
	if (ino == CONTROL_DIR_INO)
		node_out->kind = NODE_CONTROL_DIR;
	else
		node_out->kind = ino & NODE_OBJECT ? NODE_OF_TABLE : NODE_CONTROL_FILE;
	return true;
}

bool node_is_current(struct mail *mail, const struct node *node)
{
	struct mail_folder_info info;

	mail_folder_info(mail, node->folder, &info);
	return info.message_number == (uint32_t)((node->ino & ~NODE_GENERATED) >> 32);
}

bool node_message(struct mail *mail, const struct node *node, struct mail_message *message_out)
{
	return mail_message_find(mail, node->folder, node->uid, message_out) && node_is_current(mail, node);
}

void node_fini(struct node *node)
{
	mail_folder_unref(node->folder);
	node->folder = NULL;
}
