/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/auth/aadsts.h"

#include <glib.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/banned.h"

#define SIGN_IN_AGAIN "sign in again with `mailtree login ACCOUNT`"
#define CA "ask the administrator about Conditional Access"
#define ADD_PERMISSION "add the IMAP permission of Office 365 Exchange Online under API permissions"
#define ADMIN_CONSENT "an administrator grants it: Entra ID, App registrations, API permissions, Grant admin consent"

/* Sorted by code. */
static const struct auth_aadsts table[] = {
	{16000, false, "the person's account doesn't exist in this tenant",
		"check `tenant`; sign in with another account"},
	{28002, false, "the scope isn't valid", "correct `scope`, or leave it to the provider's preset"},
	{28003, false, "the scope is empty", "set `scope`, or leave it to the provider's preset"},
	{50001, false, "the resource in `scope` is disabled or doesn't exist", "check `scope`"},
	{50005, false, "Conditional Access doesn't allow this kind of device", CA},
	{50011, false, "the redirect address isn't registered",
		"add http://localhost under Authentication, Mobile and desktop applications"},
	{50012, false, "the certificate or the signed assertion isn't accepted",
		"check `certificate`, `certificate_key` and the clock"},
	{50013, false, "the signed assertion isn't valid", "check `tenant` and this machine's clock"},
	{50014, false, "the guest account isn't complete in this tenant", "the person accepts the invitation first"},
	{50020, false, "the person belongs to another tenant or identity provider", "check `user` and `tenant`"},
	{50033, true, "the authority has a passing fault", "wait"},
	{50034, false, "the person doesn't exist in this tenant", "check `user` and `tenant`"},
	{50053, false, "the account is locked", "wait, or ask the administrator to unlock it"},
	{50055, false, "the password has expired", "set a new one, then " SIGN_IN_AGAIN},
	{50056, false, "the account has no password in this directory", "use another `auth` method"},
	{50057, false, "the account is disabled", "ask the administrator"},
	{50058, false, "nobody is signed in", SIGN_IN_AGAIN},
	{50059, false, "the request doesn't say which tenant", "set `tenant`"},
	{50072, false, "a second factor must be set up", SIGN_IN_AGAIN},
	{50074, false, "a second factor is required", SIGN_IN_AGAIN},
	{50076, false, "a second factor is required", SIGN_IN_AGAIN},
	{50078, false, "the second factor has expired", SIGN_IN_AGAIN},
	{50079, false, "a second factor must be set up", SIGN_IN_AGAIN},
	{50087, true, "the second factor has a passing fault", "wait"},
	{50089, false, "the sign-in has expired", SIGN_IN_AGAIN},
	{50097, false, "the tenant wants a known device", CA},
	{50105, false, "the person isn't assigned to the app", "assign the user under Enterprise applications"},
	{50126, false, "wrong user name or password", "check them"},
	{50128, false, "the domain isn't known", "check `user` and `tenant`"},
	{50129, false, "the tenant wants a joined device", CA},
	{50131, false, "Conditional Access refuses it", CA},
	{50132, false, "the sign-in ended because the password has changed", SIGN_IN_AGAIN},
	{50133, false, "the sign-in ended because the password has changed", SIGN_IN_AGAIN},
	{50135, false, "the password must be changed because the account is at risk",
		"set a new one, then " SIGN_IN_AGAIN},
	{50144, false, "the password has expired", "set a new one, then " SIGN_IN_AGAIN},
	{50155, false, "the device couldn't prove itself", CA},
	{50158, false, "another check of the tenant must be passed", SIGN_IN_AGAIN},
	{50173, false, "the sign-in was revoked", SIGN_IN_AGAIN},
	{50187, false, "the device couldn't prove itself", CA},
	{50194, false, "the app belongs to one tenant", "set `tenant` to it instead of common"},
	{50196, true, "the authority saw too many equal requests", "wait some minutes"},
	{50199, false, "a person must confirm the sign-in", SIGN_IN_AGAIN},
	{53000, false, "the tenant wants a managed device", CA},
	{53001, false, "the tenant wants a joined device", CA},
	{53002, false, "Conditional Access allows other apps only", CA},
	{53003, false, "Conditional Access blocks it", "ask the administrator; Sign-in logs show the policy"},
	{53004, false, "a second factor must be set up first", SIGN_IN_AGAIN},
	{53011, false, "the person is blocked because of risk", "ask the administrator"},
	{54005, false, "the code was used already", SIGN_IN_AGAIN},
	{65001, false, "nobody has consented to the app's permissions", ADMIN_CONSENT},
	{65002, false, "the client ID is one of Microsoft's own apps",
		"register an app of your own and set `client_id`"},
	{65004, false, "the person declined", SIGN_IN_AGAIN},
	{65005, false, "the app's registration lacks the resource", ADD_PERMISSION},
	{70000, false, "the code or refresh token isn't valid", SIGN_IN_AGAIN},
	{70001, false, "the app is disabled or unknown in this tenant", "check `client_id` and `tenant`"},
	{70002, false, "the client secret doesn't match", "paste the secret's Value into client_secret"},
	{70003, false, "the authority doesn't offer this grant to the app", "use another `auth` method"},
	{70008, false, "the sign-in has expired", SIGN_IN_AGAIN},
	{70011, false, "the scope isn't valid", "correct `scope`, or leave it to the provider's preset"},
	{70012, true, "the authority has a passing fault", "wait"},
	{70016, true, "nobody has signed in yet", "finish the sign-in in the browser"},
	{70018, false, "the code isn't valid", SIGN_IN_AGAIN},
	{70019, false, "the code has expired", SIGN_IN_AGAIN},
	{70043, false, "the tenant wants sign-ins more often", SIGN_IN_AGAIN},
	{80002, true, "the organisation's own sign-in agent doesn't answer", "wait, or ask the administrator"},
	{90002, false, "the tenant doesn't exist", "check `tenant`: the directory's domain name or ID"},
	{90033, true, "the authority has a passing fault", "wait"},
	{90055, true, "the authority is throttling", "wait some minutes"},
	{90094, false, "an administrator must consent", ADMIN_CONSENT},
	{90095, false, "an administrator must consent", ADMIN_CONSENT},
	{500011, false, "the resource in `scope` doesn't exist in this tenant", "check `scope` and `tenant`"},
	{500021, false, "the network allows other tenants only", "ask the administrator about tenant restrictions"},
	{500022, false, "the network allows other tenants only", "ask the administrator about tenant restrictions"},
	{500133, false, "the signed assertion isn't valid now", "set this machine's clock"},
	{500208, false, "this kind of account can't sign in here",
		"work or school accounts: set `tenant` to the directory; personal ones: provider = outlook-personal"},
	{500212, false, "the person's organisation doesn't allow this tenant", "ask the administrator"},
	{500213, false, "this tenant doesn't allow people of that organisation", "ask the administrator"},
	{501481, false, "the sign-in's proof key doesn't match", SIGN_IN_AGAIN},
	{530035, false, "security defaults block it", "ask the administrator about security defaults"},
	{650052, false, "the organisation hasn't subscribed to the service",
		"ask the administrator about Exchange Online"},
	{650056, false, "the app's registration lists no permission, or nobody has consented", ADD_PERMISSION},
	{650057, false, "the app's registration lacks the resource", ADD_PERMISSION},
	{700005, false, "the code was issued for another tenant", "check `tenant`"},
	{700011, false, "the app doesn't exist in this tenant", "check `client_id` and `tenant`"},
	{700016, false, "the app doesn't exist in this tenant", "check `client_id` and `tenant`"},
	{700022, false, "the scope names several resources", "keep one resource in `scope`"},
	{700025, false, "a public client must not send a secret",
		"remove client_secret, or make the app a confidential one"},
	{700027, false, "the certificate's signature isn't accepted",
		"upload this certificate under Certificates & secrets; check `certificate_key` and the clock"},
	{700030, false, "the certificate isn't the app's", "upload this certificate under Certificates & secrets"},
	{700082, false, "the sign-in has expired because it wasn't used", SIGN_IN_AGAIN},
	{700084, false, "the sign-in was a web page's and has expired",
		"register the redirect under Mobile and desktop applications, then " SIGN_IN_AGAIN},
	{900144, false, "the request lacks a parameter", "check `tenant`, `client_id` and `scope`"},
	{1002012, false, "this grant needs a scope that ends in /.default",
		"set scope = https://outlook.office365.com/.default"},
	{7000112, false, "the app is disabled in this tenant", "enable it under Enterprise applications, Properties"},
	{7000215, false, "the client secret is wrong",
		"paste the secret's Value, not its Secret ID; the Value is shown only once, when it is made"},
	{7000216, false, "a client secret or certificate is missing", "set client_secret or certificate"},
	{7000218, false, "a client secret or certificate is missing",
		"set one, or switch on \"Allow public client flows\" under Authentication"},
	{7000222, false, "the client secret has expired", "make a new one under Certificates & secrets"},
	{9001023, false, "this grant doesn't work with tenant common or consumers",
		"set `tenant` to the directory's name"},
	{9002332, false, "the app isn't for this kind of account", "check `tenant`"},
};

static int compare(const void *key, const void *entry)
{
	uint32_t code = *(const uint32_t *)key, other = ((const struct auth_aadsts *)entry)->code;

	return code < other ? -1 : code > other;
}

const struct auth_aadsts *auth_aadsts_find(uint32_t code)
{
	return bsearch(&code, table, G_N_ELEMENTS(table), sizeof(table[0]), compare);
}

uint32_t auth_aadsts_parse(const char *text)
{
	const char *at = strstr(text, "AADSTS");
	guint64 code;

	if (!at || !g_ascii_isdigit(at[6]))
		return 0;
	code = g_ascii_strtoull(at + 6, NULL, 10);
	return code <= G_MAXUINT32 ? (uint32_t)code : 0;
}
