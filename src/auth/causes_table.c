/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/auth/causes_table.h"

#include <glib.h>
#include <string.h>

#include "src/base/banned.h"

#define REGISTRATION "Entra admin center, App registrations, the app {client}"
#define ENTERPRISE "Entra admin center, Enterprise applications, the app {client}"
#define CHECK_SP "Exchange Online PowerShell: Get-ServicePrincipal | Format-List AppId,ObjectId"
#define CHECK_CAS "Exchange Online PowerShell: Get-CASMailbox {user} | Format-List ImapEnabled"
#define LOGIN_AGAIN "mailtree login {account}"
#define SEND_FORM "user=ADDRESS, byte 0x01, auth=Bearer TOKEN, byte 0x01, byte 0x01, and base64 once over all of it"

static const struct auth_cause_entry entries[] = {
	/* here */
	{"configuration", "the configuration is wrong", "the place that the message names", "{hint}"},
	{"no-network", "this machine has no network", "ip route; getent hosts {host}",
		"connect it; behind a VPN, connect that first"},
	{"firewall", "a firewall lets nothing through to this port",
		"nc -vz {host} {port}, here and from another network",
		"have outgoing TCP to {host}, port {port}, allowed"},
	{"clock-wrong", "this machine's clock is wrong", "date -u", "set the clock: timedatectl set-ntp true"},
	/* the server */
	{"wrong-host", "host or port isn't that of an IMAP server",
		"the mail provider's page on IMAP settings (Microsoft 365: outlook.office365.com, port 993)",
		"correct `host` and `port` of {account} in the configuration"},
	{"server-down", "the server doesn't serve now",
		"its provider's status page (Microsoft 365: https://status.cloud.microsoft)", "wait, and try again"},
	{"tls-mode", "this port doesn't speak TLS from the first byte, or doesn't speak what `tls` says",
		"openssl s_client -connect {host}:{port} -brief",
		"port 993 goes with tls = implicit, port 143 with tls = starttls"},
	{"tls-intercepted", "somebody between here and the server answers in its place",
		"openssl s_client -connect {host}:{port} -showcerts: who issued the certificate?",
		"if it is your company's proxy or virus scanner, exempt {host} from it or put its root certificate "
		"into a "
		"file for `ca_file`; if you don't know the issuer, don't use this network"},
	{"private-authority", "the server's certificate comes from an authority that this machine doesn't know",
		"openssl s_client -connect {host}:{port} -showcerts",
		"put that authority's certificate (PEM) into a file and set `ca_file`"},
	{"missing-roots", "this machine's list of certificate authorities is missing or old",
		"ls /etc/ssl/certs/ca-certificates.crt; curl https://{host}", "install or update ca-certificates"},
	{"certificate-expired", "the server's certificate isn't valid today",
		"openssl s_client -connect {host}:{port} | openssl x509 -noout -dates",
		"the server's operator must renew it"},
	{"tls-failed", "the TLS handshake ends without a connection", "openssl s_client -connect {host}:{port}",
		"the server must speak TLS 1.2 or newer, and nothing in between may break it"},
	{"mechanism-not-offered", "the server doesn't take this kind of sign-in",
		"the line `greeting` above: what it offers", "{hint}"},
	{"throttled", "the server limits how much it does for this mailbox",
		"wait as long as it says; other programs that use this mailbox count too",
		"wait; fewer `connections`, and fewer programs on {user}"},
	{"too-many-connections", "too many connections are open for this mailbox",
		"mailtree status; which other mail programs, phones and servers have {user} open?",
		"close some, or set `connections` to less"},
	{"over-quota", "so much has been fetched that the server stops for some hours",
		"the provider's limits (Gmail: 2,500 MB a day by IMAP)",
		"wait some hours; `daily_bytes` keeps below it"},
	{"connection-lost", "the connection was cut", "mailtree doctor {account}, again and from another network",
		"if it repeats: a firewall that inspects, or the server's limits"},
	{"server-fault", "a fault of the service, which comes and goes",
		"mailtree doctor {account}, three times a minute apart; Microsoft 365 admin center, Health",
		"wait; if it lasts, give the provider's support the time and the server's words"},
	{"message-broken", "the server can't deliver a message", "open the newest messages in the provider's web mail",
		"the other messages aren't touched by it; `broken` "
		"says how mailtree shows such ones"},
	{"no-inbox", "the mailbox has no INBOX that can be opened", "mailtree ls {account}",
		"ask the server's operator; is {user} the right mailbox?"},
	/* the way to a token */
	{"sign-in-needed", "nobody has signed in yet", "mailtree token {account}", LOGIN_AGAIN},
	{"sign-in-again", "the sign-in isn't good any more", "mailtree token {account}", LOGIN_AGAIN},
	{"authority-unreachable", "the sign-in service can't be reached",
		"open the address that the message names in a browser on this machine",
		"check the network, `https_proxy`, and `authority` in the configuration"},
	{"authority-busy", "the sign-in service has a passing fault or too much to do",
		"mailtree doctor {account} in some minutes", "wait some minutes"},
	{"wrong-authority", "what is configured as the sign-in service isn't one",
		"`authority`, `tenant` and `token_url` in the configuration",
		"leave `authority` to the provider's preset, and "
		"check `tenant`"},
	{"tenant-unknown", "the tenant doesn't exist", "Entra admin center, Overview: primary domain and tenant ID",
		"set `tenant` to one of the two"},
	{"app-not-in-tenant", "the app isn't known in this tenant",
		"Entra admin center of tenant {tenant}, App registrations: is {client} there?",
		"set `client_id` to the Application (client) ID and `tenant` to the directory that has it; for another "
		"organisation's app its administrator consents first"},
	{"app-disabled", "the app is switched off in this tenant",
		ENTERPRISE ", Properties: enabled for users to sign in", "switch it on there"},
	{"client-secret-id", "the secret's ID is configured instead of its value",
		REGISTRATION ", Certificates & secrets: the column Secret ID",
		"make a new secret and copy the column Value, which is shown only then"},
	{"wrong-client-secret", "the client secret is wrong",
		REGISTRATION ", Certificates & secrets: the Value begins with the letters shown there",
		"make a new secret, copy its Value (not its Secret ID) to client_secret"},
	{"expired-client-secret", "the client secret has expired",
		REGISTRATION ", Certificates & secrets: the column Expires",
		"make a new secret there and put its Value into client_secret; a certificate lasts longer"},
	{"missing-client-secret", "a client secret or certificate is missing",
		REGISTRATION ", Authentication: Allow public client flows",
		"set client_secret or certificate, or allow public client flows for a program without one"},
	{"wrong-certificate", "the certificate isn't one of the app's",
		REGISTRATION ", Certificates & secrets, Certificates",
		"upload this certificate there; check `certificate_key` and this machine's clock"},
	{"wrong-scope", "the scope doesn't go with this way of signing in", "`scope` in the configuration",
		"remove `scope` to use the provider's preset: https://outlook.office365.com/.default for client "
		"credentials, https://outlook.office.com/IMAP.AccessAsUser.All offline_access for a person"},
	{"no-admin-consent", "an administrator hasn't consented to the app's permissions",
		REGISTRATION
		", API permissions: is IMAP.AccessAsApp (Application) or IMAP.AccessAsUser.All (Delegated) "
		"listed with status Granted?",
		"an administrator chooses Grant admin consent there; then get a new token"},
	{"second-factor", "the tenant wants a second factor or a known device",
		"Entra admin center, Sign-in logs of {user}",
		LOGIN_AGAIN "; if that is refused too, ask the administrator about Conditional Access"},
	{"blocked-by-policy", "a policy of the tenant forbids it",
		"Entra admin center, Sign-in logs of {user}: the tab Conditional Access names the policy",
		"ask the administrator to exempt this app, or to allow legacy protocols with modern sign-in for it"},
	{"person-unknown", "the person doesn't exist in this tenant", "Entra admin center, Users: {user}",
		"check `user` and `tenant`"},
	{"account-closed", "the account is locked or disabled", "Entra admin center, Users: {user}",
		"ask the administrator"},
	{"token-source", "no token or password comes from where it is configured",
		"run the command, or read the file, that the message names", "{hint}"},
	{"token-is-response", "a SASL response stands where the token should",
		"the token itself has neither `user=` nor `Bearer`, and isn't encoded again",
		"let token_command or token_file give the bare access token"},
	/* the token */
	{"token-expired", "the access token has expired", "mailtree token {account} gives a new one; date -u",
		"get a new token; with your own token_command, have it renew"},
	{"token-for-other-resource", "the token is for another service than Exchange",
		"mailtree doctor shows the token's audience (aud); for IMAP it is https://outlook.office365.com or "
		"https://outlook.office.com",
		"ask for the token with a scope of Exchange, never together with one of Graph: "
		"https://outlook.office365.com/.default (app) or https://outlook.office.com/IMAP.AccessAsUser.All "
		"(person)"},
	{"token-lacks-permission", "the token doesn't carry the permission for IMAP",
		REGISTRATION ", API permissions, Office 365 Exchange Online: IMAP.AccessAsApp (Application) or "
			     "IMAP.AccessAsUser.All (Delegated)",
		"add the permission, have an administrator grant it, and get a new token"},
	{"token-for-other-user", "the token belongs to another person than `user`",
		"who signed in? The token's upn is shown above",
		"set `user` to that person's mailbox, or sign in as "
		"{user}: " LOGIN_AGAIN},
	{"token-revoked", "the token was withdrawn: password changed, sessions ended, account disabled",
		"Entra admin center, Sign-in logs of {user}", LOGIN_AGAIN},
	{"imap-token-for-rest", "a token for IMAP is used for a REST interface",
		"the token's aud and scp against the address of the request",
		"ask for a second token with a scope of that interface (https://graph.microsoft.com/.default or "
		"https://graph.microsoft.com/Mail.Read); one token serves one service"},
	{"me-with-app-token", "/me is asked with a token that has no person behind it",
		"the token is app-only: idtyp app, roles and no scp",
		"ask for /users/{user} instead of /me, or sign in "
		"as a person"},
	{"outlook-rest-retired", "the old Outlook REST interface is switched off",
		"the address of the request has outlook.office.com/api or outlook.office365.com/api",
		"use https://graph.microsoft.com/v1.0 or IMAP"},
	/* the mailbox */
	{"imap-disabled", "IMAP is switched off for this mailbox",
		CHECK_CAS " (Outlook.com and Gmail: the web mail's settings)",
		"Set-CASMailbox {user} -ImapEnabled $true, which takes up to an hour to work"},
	{"no-mailbox", "there is no mailbox behind this name, or it has no licence",
		"Exchange Online PowerShell: Get-EXOMailbox {user}; Microsoft 365 admin center, Active users, Licenses",
		"correct `user`, or assign a licence with Exchange Online"},
	{"app-without-mailbox-permission", "the app has no right to this mailbox",
		"Exchange Online PowerShell: Get-MailboxPermission {user} | Format-Table User,AccessRights",
		"Add-MailboxPermission -Identity {user} -User {object} -AccessRights FullAccess, which takes up to an "
		"hour "
		"to work"},
	{"wrong-object-id", "Exchange knows the app by the wrong object id, or not at all",
		CHECK_SP
		": AppId {client} must have ObjectId {object}, the one on the Enterprise application's page (not "
		"the one under App registrations)",
		"Remove-ServicePrincipal what is wrong there, then New-ServicePrincipal -AppId {client} -ObjectId "
		"{object}, and the mailbox permission again"},
	{"shared-mailbox-rights", "the person who signed in has no right to the shared mailbox",
		"Exchange Online PowerShell: Get-MailboxPermission {user} | Format-Table User,AccessRights",
		"Add-MailboxPermission -Identity {user} -User PERSON -AccessRights FullAccess"},
	{"shared-mailbox-syntax", "`user` is written as PERSON\\MAILBOX, which Exchange Online doesn't take any more",
		"`user` in the configuration", "set `user` to the shared mailbox's address alone"},
	{"basic-auth-retired", "the server takes no passwords any more",
		"the line `greeting` above: is AUTH=PLAIN offered?",
		"use OAuth: set `auth` to authorization-code, device-code or client-credentials"},
	{"app-password-needed", "the provider takes an app password only",
		"the account's security settings, App passwords",
		"make one there and use it as the password, or use OAuth"},
	{"wrong-password", "the user name or the password is wrong", "sign in to the provider's web mail with both",
		"correct `user` and the password"},
	/* the form of an initial response */
	{"empty-response", "there is nothing to examine", "the file, or what was written to standard input",
		"give what the other program sent behind AUTHENTICATE XOAUTH2"},
	{"whitespace", "white space or line ends stand inside of the base64", "base64 -w 0",
		"encode without line breaks; strip what stands around it"},
	{"quotes", "quotation marks stand around it", "the first and the last character", "send it without them"},
	{"byte-order-mark", "it begins with a byte order mark", "xxd | head -1", "write the bytes without one"},
	{"not-encoded", "it isn't base64",
		"does the library encode it itself? Then this is right as the library's input",
		"encode it once, " SEND_FORM},
	{"url-safe-base64", "it is base64url (- and _), where SASL takes plain base64 (+ and /)",
		"look for - and _ in it", "encode the response by plain base64; only the token inside is base64url"},
	{"missing-padding", "the = at the end of the base64 are missing", "its length isn't a multiple of 4",
		"keep the padding"},
	{"broken-base64", "the base64 is damaged", "base64 -d", "send it as the encoder gave it: " SEND_FORM},
	{"encoded-twice", "it is base64 of base64", "base64 -d, twice",
		"encode once: hand your library the raw text, or tell it that it is encoded already"},
	{"utf-16", "the text was encoded as UTF-16", "base64 -d | xxd | head: every other byte is 00",
		"take the text's bytes in UTF-8 (PowerShell: [Text.Encoding]::UTF8)"},
	{"separator-as-text", "the byte 0x01 is written out as text",
		"base64 -d | xxd: 01 must stand between user, auth and "
		"at the end",
		"send the byte itself: \\x01 in a C, Python or JavaScript string, [char]1 in PowerShell, chr(1) in "
		"PHP; in "
		"single quotes most languages and shells leave \\1 as it is"},
	{"separator-hex-slip", "an A follows the byte 0x01", "base64 -d | xxd: 01 41",
		"the byte is \\x01, not \\x01A: ^A is only its name"},
	{"wrong-separator", "something else than the byte 0x01 stands between the parts", "base64 -d | xxd",
		"put one byte 0x01 there"},
	{"missing-separator", "nothing stands between user and auth", "base64 -d | xxd", "put one byte 0x01 there"},
	{"missing-terminator", "it doesn't end in two bytes 0x01", "base64 -d | xxd | tail -1: 01 01",
		"end it by both"},
	{"extra-terminator", "more than two bytes 0x01 stand at its end", "base64 -d | xxd | tail -1", "end it by two"},
	{"trailing-bytes", "something follows behind the end", "base64 -d | xxd | tail -1",
		"leave it out; `echo` adds a line end, printf doesn't"},
	{"user-missing", "it doesn't say whose mailbox to open", "user=ADDRESS (XOAUTH2) or n,a=ADDRESS, (OAUTHBEARER)",
		"add the mailbox's address"},
	{"user-form", "the user's name has characters that no address has",
		"the part behind user=", "write the bare address: olena@contoso.com"},
	{"auth-missing", "it has no auth=Bearer", "the part behind the first 0x01", "add auth=Bearer TOKEN"},
	{"key-case", "a key isn't in lower case", "user= and auth=", "write user= and auth="},
	{"bearer-missing", "the word Bearer is missing in front of the token", "auth=Bearer TOKEN",
		"add it, and one space"},
	{"bearer-case", "Bearer is written in another way", "auth=Bearer TOKEN", "write it with a capital B"},
	{"bearer-spacing", "not exactly one space stands behind Bearer", "auth=Bearer TOKEN", "put one there"},
	{"gs2-header", "the header of OAUTHBEARER isn't n,a=ADDRESS,", "RFC 7628 section 3.1",
		"begin with n,a=ADDRESS, and the byte 0x01"},
	{"mechanism-mismatch", "the form is that of another mechanism than the command names",
		"XOAUTH2 begins with user=, OAUTHBEARER with n,a=", "send the form that goes with the mechanism"},
	{"token-missing", "there is no token", "the part behind Bearer", "put the access token there"},
	{"token-form", "the token has characters that no token has", "the part behind Bearer",
		"put the bare access token there: no quotation marks, no spaces, no JSON"},
	{"refresh-token", "this looks like a refresh token or an authorization code", "the part behind Bearer",
		"exchange it for an access token first"},
};

const struct auth_cause_entry *auth_cause_entry_find(const char *id)
{
	for (size_t i = 0; i < G_N_ELEMENTS(entries); i++)
		if (strcmp(entries[i].id, id) == 0)
			return &entries[i];
	return NULL;
}

const struct auth_cause_entry *auth_cause_entries(size_t *count_out)
{
	*count_out = G_N_ELEMENTS(entries);
	return entries;
}
