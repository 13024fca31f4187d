/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "imap/offer.h"

#include <glib.h>
#include <string.h>

#include "src/base/banned.h"

static const struct {
	const char *word;
	uint32_t capability;
} words_known[] = {
	{"UIDPLUS", IMAP_CAP_UIDPLUS},
	{"CONDSTORE", IMAP_CAP_CONDSTORE},
	{"QRESYNC", IMAP_CAP_QRESYNC | IMAP_CAP_CONDSTORE}, /* RFC 7162 section 3.2: the one holds the other */
	{"ESEARCH", IMAP_CAP_ESEARCH},
	{"LIST-STATUS", IMAP_CAP_LIST_STATUS},
	{"LIST-EXTENDED", IMAP_CAP_LIST_EXTENDED},
	{"SPECIAL-USE", IMAP_CAP_SPECIAL_USE},
	{"COMPRESS=DEFLATE", IMAP_CAP_COMPRESS},
	{"IDLE", IMAP_CAP_IDLE},
	{"OBJECTID", IMAP_CAP_OBJECTID},
	{"X-GM-EXT-1", IMAP_CAP_GMAIL},
	{"QUOTA", IMAP_CAP_QUOTA},
	{"NAMESPACE", IMAP_CAP_NAMESPACE},
	{"ID", IMAP_CAP_ID},
	{"ENABLE", IMAP_CAP_ENABLE},
	{"UNSELECT", IMAP_CAP_UNSELECT},
};

static void mechanism_read(struct offer *offer, const char *name)
{
	size_t used = strlen(offer->mechanisms);

	if (g_ascii_strcasecmp(name, "XOAUTH2") == 0)
		offer->xoauth2 = true;
	else if (g_ascii_strcasecmp(name, "OAUTHBEARER") == 0)
		offer->oauthbearer = true;
	else if (g_ascii_strcasecmp(name, "PLAIN") == 0)
		offer->plain = true;
	g_snprintf(offer->mechanisms + used, sizeof(offer->mechanisms) - used, "%s%.40s", used ? ", " : "", name);
}

void offer_read(struct offer *offer, const struct imap_value *words, uint32_t count)
{
	memset(offer, 0, sizeof(*offer));
	offer->known = true;
	for (uint32_t i = 0; i < count; i++) {
		if (words[i].type != IMAP_ATOM)
			continue;
		if (g_ascii_strncasecmp(words[i].text, "AUTH=", 5) == 0)
			mechanism_read(offer, words[i].text + 5);
		else if (imap_value_is(&words[i], "SASL-IR"))
			offer->sasl_ir = true;
		else if (imap_value_is(&words[i], "LOGINDISABLED"))
			offer->login_disabled = true;
		for (size_t k = 0; k < G_N_ELEMENTS(words_known); k++)
			if (imap_value_is(&words[i], words_known[k].word))
				offer->capabilities |= words_known[k].capability;
	}
}

const char *offer_sasl_name(enum imap_sasl sasl)
{
	static const char *const names[] = {
		[IMAP_SASL_AUTO] = "auto",
		[IMAP_SASL_XOAUTH2] = "XOAUTH2",
		[IMAP_SASL_OAUTHBEARER] = "OAUTHBEARER",
		[IMAP_SASL_PLAIN] = "PLAIN",
		[IMAP_SASL_LOGIN] = "LOGIN",
	};

	return names[sasl];
}

static bool is_offered(const struct offer *offer, enum imap_sasl sasl)
{
	switch (sasl) {
	case IMAP_SASL_XOAUTH2:
		return offer->xoauth2;
	case IMAP_SASL_OAUTHBEARER:
		return offer->oauthbearer;
	case IMAP_SASL_PLAIN:
		return offer->plain;
	default:
		return !offer->login_disabled;
	}
}

static int not_offered(const struct offer *offer, const char *wanted, enum auth_kind kind, struct error *err)
{
	error_set(err, ERR_SIGN_IN, "the server doesn't offer to sign in by %s; it offers %s%s", wanted,
		offer->mechanisms[0] ? offer->mechanisms : "no AUTH= at all",
		offer->login_disabled ? ", and LOGIN is disabled" : "");
	if (kind == AUTH_PASSWORD_KIND)
		error_hint(err, "the server may take no passwords (any more): use an OAuth method, or check `tls`");
	else
		error_hint(err, "is this the right server? For a password set auth = password");
	return ERR_SIGN_IN;
}

int offer_choose(const struct offer *offer, enum imap_sasl wanted, enum auth_kind kind, enum imap_sasl *sasl_out,
	struct error *err)
{
	bool bearer = kind == AUTH_BEARER;
	enum imap_sasl ways[2] = {
		bearer ? IMAP_SASL_XOAUTH2 : IMAP_SASL_PLAIN, bearer ? IMAP_SASL_OAUTHBEARER : IMAP_SASL_LOGIN};

	if (wanted != IMAP_SASL_AUTO) {
		if (wanted != ways[0] && wanted != ways[1])
			return error_set(err, ERR_CONFIG, "sasl = %s doesn't go with %s", offer_sasl_name(wanted),
				bearer ? "an access token" : "a password");
		ways[0] = ways[1] = wanted;
	}
	for (size_t i = 0; i < G_N_ELEMENTS(ways); i++)
		/* a server that names no mechanism at all may take a token all the same */
		if (is_offered(offer, ways[i]) || (bearer && !offer->mechanisms[0])) {
			*sasl_out = ways[i];
			return 0;
		}
	if (wanted != IMAP_SASL_AUTO)
		return not_offered(offer, offer_sasl_name(wanted), kind, err);
	return not_offered(
		offer, bearer ? "access token (XOAUTH2, OAUTHBEARER)" : "password (PLAIN, LOGIN)", kind, err);
}
