/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What an access token says about itself, where it can be read. For explanations alone: tokens are opaque by
 * contract (Microsoft issues encrypted and non-JWT ones), the signature isn't checked, and nothing is decided by it.
 *
 * The texts are fit to be printed: valid UTF-8 without controls, cut at their buffers' ends. None is part of the
 * token as it stands in a dialogue.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AUTH_CLAIM_MAX 256u

struct auth_claims {
	bool readable; /* a JWT whose claims could be read: else all that follows is empty */
	char audience[AUTH_CLAIM_MAX];
	char issuer[AUTH_CLAIM_MAX];
	char user[AUTH_CLAIM_MAX];   /* upn, preferred_username, unique_name or email */
	char scopes[AUTH_CLAIM_MAX]; /* scp: what a person has delegated */
	char roles[AUTH_CLAIM_MAX];  /* what an app may do by itself */
	char app[AUTH_CLAIM_MAX];    /* appid or azp */
	char object[AUTH_CLAIM_MAX]; /* oid: of an app-only token, the Enterprise application's object id */
	char tenant[AUTH_CLAIM_MAX];
	bool is_app;        /* app-only: no person behind it */
	bool imap_user;     /* IMAP.AccessAsUser.All among the scopes, however long their list */
	bool imap_app;      /* IMAP.AccessAsApp among the roles */
	bool mail_scopes;   /* any Mail.… among scopes and roles */
	int64_t expires_at; /* seconds since 1970; 0 = not told */
	int64_t not_before;
};

/* Always fills in `claims_out`. */
void auth_claims_read(const char *token, size_t length, struct auth_claims *claims_out);
/* One line about it, for people; g_free it. `length` is the token's. */
char *auth_claims_describe(const struct auth_claims *claims, size_t length, int64_t now);
/* Microsoft's authority has issued it, as it says. */
bool auth_claims_are_microsoft(const struct auth_claims *claims);
/* The audience is Exchange, in any cloud. */
bool auth_claims_are_exchange(const struct auth_claims *claims);
/* 8-4-4-4-12 hexadecimal digits. */
bool auth_text_is_guid(const char *text);
