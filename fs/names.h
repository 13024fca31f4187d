/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Names of messages, pure: DATE_FROM_SUBJECT.UID.eml of the contract, and the UID back out of a name. Beside them those
 * of layout=maildir (names_maildir.c).
 * Nothing is kept: a name is composed when it is listed, and composed again to be compared when it is looked up.
 */
#pragma once

#include "src/mail/mail.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NAMES_BYTES_MAX 200u /* of a message's name, by the contract */

/* Writes the name under which `message` is listed; returns its length. */
size_t names_compose(const struct mail_message *message, bool uid_only, char name_out[NAMES_BYTES_MAX + 1]);
/* "UID.eml", under which it always opens. */
size_t names_compose_uid(uint32_t uid, char name_out[NAMES_BYTES_MAX + 1]);
/*
 * The UID in front of a final ".eml": decimal, 1 to 4294967295, no leading zeros, at the start of the name or behind
 * a dot. False = no message can have this name: each begins with a digit, and none with a dot.
 */
bool names_parse(const char *name, uint32_t *uid_out);
/* Whether `message` opens under `name`, which names_parse() said may be its own. */
bool names_match(const char *name, const struct mail_message *message, bool uid_only);

/* ---- layout=maildir ---- */

/* What a folder's directory holds there beside its subfolders. */
enum names_maildir_part { NAMES_MAILDIR_CUR = 1, NAMES_MAILDIR_NEW, NAMES_MAILDIR_TMP };
#define NAMES_MAILDIR_PARTS 3
const char *names_maildir_part(enum names_maildir_part part);
/* 0: none. */
enum names_maildir_part names_maildir_part_find(const char *name);

/*
 * "SECONDS.FfolderUuid.mailtree:2,FLAGS". In front of the colon nothing ever changes: SECONDS are those of
 * INTERNALDATE, `folder` is message_number in 8 hex digits, so that it is unique over all folders and another one
 * after a renumbering. Returns its length.
 */
size_t names_maildir_compose(
	const struct mail_message *message, uint32_t message_number, char name_out[NAMES_BYTES_MAX + 1]);
/* The UID in such a name, whatever flags it shows, with or without its ":2,". False = no message can have it. */
bool names_maildir_parse(const char *name, uint32_t *uid_out);
enum names_likeness {
	NAMES_OTHER,
	NAMES_ALIAS, /* it opens under this name too: its own with the flags of another time, or "UID.eml" */
	NAMES_LISTED,
};
enum names_likeness names_maildir_match(const char *name, const struct mail_message *message, uint32_t message_number);
