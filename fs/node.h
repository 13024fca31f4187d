/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inode numbers: what one means, and back. They are handles by themselves, the same in every mount:
 *
 *     1                                  the root
 *     folder number << 32                a folder's directory
 *     folder number << 32 | 1, 2, 3      with layout=maildir its cur, new, tmp
 *     message number << 32 | UID         a message
 *     1 << 63 | …                        generated: what the server doesn't have
 *     1 << 63 | folder number << 32      a folder's directory below .mailtree/text
 *     1 << 63 | message number << 32 | UID   a message's text
 *     1 << 63 | CONTROL_… or NODE_…      .mailtree, the roots of its trees and, as st_ino, its files
 *     1 << 63 | serial                   a control file's content at one moment (control.h)
 *     1 << 63 | 1 << 31 | serial         an object (generated.h): attachments, and what else has more to say than a
 *                                        folder and a UID
 *
 * Folder numbers and message numbers have 31 bits and are never 0 but for the root; no number is both. An object's
 * number holds as long as the kernel knows it; its st_ino, which is the same in every mount, is 1 << 63 and a hash of
 * what it is (node_hash_ino()).
 */
#pragma once

#include "fs/names.h"
#include "src/mail/mail.h"

#include <stdbool.h>
#include <stdint.h>

#define NODE_ROOT_INO 1u
#define NODE_GENERATED (1ull << 63)
#define NODE_OBJECT (1u << 31)
/* Roots of the trees below .mailtree/: a number, an st_ino, or both. */
#define NODE_TEXT_ROOT (NODE_GENERATED | 0x10)
#define NODE_ATTACHMENTS_ROOT (NODE_GENERATED | 0x11)
#define NODE_SEARCH_ROOT (NODE_GENERATED | 0x12)

enum node_kind {
	NODE_FOLDER, /* the root too */
	NODE_MESSAGE,
	NODE_MAILDIR_PART, /* cur, new or tmp */
	NODE_CONTROL_DIR,  /* .mailtree */
	NODE_CONTROL_FILE, /* a snapshot of one of its files */
	NODE_TEXT_FOLDER,  /* below .mailtree/text; its root too */
	NODE_TEXT,         /* a message's text */
	NODE_OF_TABLE,     /* an object: generated.h */
};

struct node {
	enum node_kind kind;
	uint64_t ino;
	struct mail_folder *folder; /* of FOLDER, MESSAGE, MAILDIR_PART, TEXT_FOLDER and TEXT: a reference */
	uint32_t uid;               /* of MESSAGE and TEXT; enum names_maildir_part of MAILDIR_PART */
};

uint64_t node_folder_ino(uint32_t number);
uint64_t node_maildir_ino(uint32_t number, enum names_maildir_part part);
uint64_t node_message_ino(uint32_t message_number, uint32_t uid);
uint64_t node_text_folder_ino(uint32_t number);
uint64_t node_text_ino(uint32_t message_number, uint32_t uid);
/* The st_ino of an object, from what it is: never the same as that of a root. */
uint64_t node_hash_ino(const char *what);
/* False: there is no such folder (any more). Else node_fini() it. A message itself may be gone all the same. */
bool node_resolve(struct mail *mail, uint64_t ino, struct node *node_out);
/*
 * Whether what the model said of this message since node_resolve() was about this message: its folder may have been
 * renumbered in between, and another message have its UID.
 */
bool node_is_current(struct mail *mail, const struct node *node);
/* What the model knows of it. False: gone. */
bool node_message(struct mail *mail, const struct node *node, struct mail_message *message_out);
void node_fini(struct node *node);
