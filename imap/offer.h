/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a server offers: the words of CAPABILITY that decide something, and the choice of a way to sign in. */
#pragma once

#include "imap/client.h"
#include "src/auth/auth.h"

#include <stdbool.h>
#include <stdint.h>

#define OFFER_MECHANISMS_TEXT_MAX 256u

struct offer {
	bool known;
	uint32_t capabilities; /* enum imap_capability */
	bool sasl_ir;
	bool login_disabled;
	bool xoauth2, oauthbearer, plain;
	char mechanisms[OFFER_MECHANISMS_TEXT_MAX]; /* "XOAUTH2, PLAIN": for messages */
};

/* Replaces what was known. */
void offer_read(struct offer *offer, const struct imap_value *words, uint32_t count);
/*
 * The way to sign in: never IMAP_SASL_AUTO. `wanted` is the configuration's. ERR_SIGN_IN when the server doesn't
 * offer it, ERR_CONFIG when it doesn't go with the kind of credential.
 */
int offer_choose(const struct offer *offer, enum imap_sasl wanted, enum auth_kind kind, enum imap_sasl *sasl_out,
	struct error *err);
const char *offer_sasl_name(enum imap_sasl sasl);
