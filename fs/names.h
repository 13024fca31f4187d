/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Names of messages, pure: DATE_FROM_SUBJECT.UID.eml of the contract, and the UID back out of a name.
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
