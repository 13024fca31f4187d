/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The handshake, with everything that it tells about the other side, be it trusted or not. */
#include "imap/reach.h"
#include "src/base/log.h"
#include "src/base/loop.h"

#include <arpa/inet.h>
#include <glib.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "src/base/banned.h"

#define LINES_BYTES_MAX 8192u /* before TLS: a greeting and the answer to STARTTLS */
#define NAMES_SHOWN 4

/* ---- waiting ---- */

static int wait_for(int fd, short events, uint64_t until_ms, struct error *err)
{
	struct pollfd wait = {.fd = fd, .events = events};
	uint64_t now = clock_ms();

	if (now < until_ms && poll(&wait, 1, (int)(until_ms - now)) > 0)
		return 0;
	return clock_ms() < until_ms ? 0 : error_set(err, ERR_TIMEOUT, "the server stays silent");
}

/* ---- in plain text ---- */

static void words_keep(struct reach *reach, const char *text, size_t length)
{
	while (length && (text[length - 1] == '\r' || text[length - 1] == '\n'))
		length--;
	g_strlcpy(reach->words, text, MIN(length + 1, sizeof(reach->words)));
	log_clean(reach->words);
}

/* Up to the end of a line that begins with `tag`. */
static int line_wait(struct reach *reach, const char *tag, uint64_t until_ms, struct error *err)
{
	char text[LINES_BYTES_MAX + 1];
	size_t length = 0, line = 0;

	while (length < LINES_BYTES_MAX) {
		/* a byte at a time: what follows the line may be TLS */
		ssize_t n = recv(reach->fd, text + length, 1, 0);

		if (n == 0)
			return error_set(err, ERR_UNREACHABLE, "the server closed the connection");
		if (n < 0) {
			int rc = wait_for(reach->fd, POLLIN, until_ms, err);

			if (rc != 0)
				return rc;
			continue;
		}
		if (text[length++] != '\n')
			continue;
		words_keep(reach, text + line, length - line);
		if (g_str_has_prefix(reach->words, tag))
			return 0;
		line = length;
	}
	return error_set(err, ERR_UNREACHABLE, "this isn't how an IMAP server speaks");
}

static int starttls(struct reach *reach, uint64_t until_ms, struct error *err)
{
	static const char command[] = "d1 STARTTLS\r\n";
	int rc = line_wait(reach, "* ", until_ms, err);

	if (rc != 0)
		return rc;
	if (send(reach->fd, command, sizeof(command) - 1, MSG_NOSIGNAL) != (ssize_t)sizeof(command) - 1)
		return error_set(err, ERR_UNREACHABLE, "the server took no command");
	rc = line_wait(reach, "d1 ", until_ms, err);
	if (rc == 0 && g_ascii_strncasecmp(reach->words, "d1 OK", 5) != 0) {
		reach->tls = REACH_TLS_PLAIN;
		return error_set(err, ERR_UNREACHABLE, "STARTTLS is refused: %.200s", reach->words);
	}
	return rc;
}

/* ---- the certificate ---- */

static void name_append(GString *out, const X509_NAME *name)
{
	char text[128] = "";

	if (X509_NAME_get_text_by_NID(name, NID_commonName, text, sizeof(text)) <= 0)
		X509_NAME_get_text_by_NID(name, NID_organizationName, text, sizeof(text));
	g_string_append(out, *text ? text : "somebody without a name");
}

static void alternatives_append(GString *out, X509 *certificate)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
	int shown = 0;

	for (int i = 0; i < sk_GENERAL_NAME_num(names) && shown < NAMES_SHOWN; i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

		if (name->type != GEN_DNS)
			continue;
		g_string_append_printf(out, "%s%.*s", shown++ ? ", " : "", ASN1_STRING_length(name->d.dNSName),
			ASN1_STRING_get0_data(name->d.dNSName));
	}
	if (shown == 0)
		name_append(out, X509_get_subject_name(certificate));
	GENERAL_NAMES_free(names);
}

static void certificate_describe(struct reach *reach, X509 *certificate)
{
	GString *out = g_string_new("for ");
	struct tm until;

	alternatives_append(out, certificate);
	g_string_append(out, " by ");
	name_append(out, X509_get_issuer_name(certificate));
	if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &until))
		g_string_append_printf(
			out, " until %04d-%02d-%02d", until.tm_year + 1900, until.tm_mon + 1, until.tm_mday);
	g_strlcpy(reach->certificate, out->str, sizeof(reach->certificate));
	log_clean(reach->certificate);
	g_string_free(out, TRUE);
}

static enum reach_tls_trouble trouble_of(long verify)
{
	switch (verify) {
	case X509_V_OK:
		return REACH_TLS_FINE;
	case X509_V_ERR_HOSTNAME_MISMATCH:
	case X509_V_ERR_IP_ADDRESS_MISMATCH:
		return REACH_TLS_OTHER_NAME;
	case X509_V_ERR_CERT_HAS_EXPIRED:
	case X509_V_ERR_CERT_NOT_YET_VALID:
		return REACH_TLS_EXPIRED;
	default:
		return REACH_TLS_UNTRUSTED;
	}
}

/* ---- the handshake ---- */

static SSL_CTX *context_new(const struct stream_target *target, struct error *err)
{
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());

	if (!context) {
		error_set(err, ERR_FAILED, "OpenSSL gives no context");
		return NULL;
	}
	SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
	SSL_CTX_set_default_verify_paths(context);
	/* it goes on with whoever is there, to tell who that is; nothing secret is sent */
	SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
	if (target->ca_file && SSL_CTX_load_verify_file(context, target->ca_file) != 1) {
		error_set(err, ERR_CONFIG, "ca_file = %s: no PEM certificates can be read from it", target->ca_file);
		SSL_CTX_free(context);
		return NULL;
	}
	return context;
}

static void host_set(SSL *tls, const char *host)
{
	size_t length = strlen(host);
	g_autofree char *bare = host[0] == '[' ? g_strndup(host + 1, length > 2 ? length - 2 : 0) : g_strdup(host);

	if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(tls), bare) == 1)
		return;
	SSL_set_tlsext_host_name(tls, bare);
	X509_VERIFY_PARAM_set1_host(SSL_get0_param(tls), bare, 0);
}

static int handshake_failed(struct reach *reach, struct error *err)
{
	unsigned long code = ERR_peek_error();
	int reason = ERR_GET_REASON(code);
	char text[160] = "the connection was closed";

	if (code)
		ERR_error_string_n(code, text, sizeof(text));
	reach->tls = reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_HTTP_REQUEST ? REACH_TLS_PLAIN
	                                                                                  : REACH_TLS_BROKEN;
	return error_set(err, ERR_UNREACHABLE, "the TLS handshake failed: %s",
		reach->tls == REACH_TLS_PLAIN ? "the server answered in plain text" : text);
}

static int handshake(struct reach *reach, SSL *tls, uint64_t until_ms, struct error *err)
{
	for (;;) {
		int done, rc;

		ERR_clear_error();
		done = SSL_connect(tls);
		if (done == 1)
			return 0;
		switch (SSL_get_error(tls, done)) {
		case SSL_ERROR_WANT_READ:
			rc = wait_for(reach->fd, POLLIN, until_ms, err);
			break;
		case SSL_ERROR_WANT_WRITE:
			rc = wait_for(reach->fd, POLLOUT, until_ms, err);
			break;
		default:
			return handshake_failed(reach, err);
		}
		if (rc != 0) {
			reach->tls = REACH_TLS_BROKEN;
			return rc;
		}
	}
}

static int verdict(struct reach *reach, const struct stream_target *target, SSL *tls, struct error *err)
{
	X509 *certificate = SSL_get1_peer_certificate(tls);
	long verify = SSL_get_verify_result(tls);

	g_strlcpy(reach->tls_version, SSL_get_version(tls), sizeof(reach->tls_version));
	if (certificate)
		certificate_describe(reach, certificate);
	X509_free(certificate);
	reach->tls = trouble_of(verify);
	if (reach->tls == REACH_TLS_FINE)
		return 0;
	if (reach->tls == REACH_TLS_OTHER_NAME)
		return error_set(err, ERR_UNREACHABLE, "the certificate isn't for %s", target->host);
	return error_set(
		err, ERR_UNREACHABLE, "the certificate isn't trusted: %s", X509_verify_cert_error_string(verify));
}

int reach_tls(struct reach *reach, const struct stream_target *target, uint32_t timeout_ms, struct error *err)
{
	uint64_t until = clock_ms() + timeout_ms;
	SSL_CTX *context = context_new(target, err);
	SSL *tls;
	int rc = 0;

	if (!context)
		return err ? err->code : ERR_FAILED;
	if (target->tls == STREAM_TLS_STARTTLS)
		rc = starttls(reach, until, err);
	tls = SSL_new(context);
	if (rc == 0 && tls && SSL_set_fd(tls, reach->fd) == 1) {
		host_set(tls, target->host);
		rc = handshake(reach, tls, until, err);
		if (rc == 0)
			rc = verdict(reach, target, tls, err);
	} else if (rc == 0) {
		rc = error_set(err, ERR_FAILED, "OpenSSL gives no connection");
	} else if (reach->tls == REACH_TLS_FINE) {
		reach->tls = REACH_TLS_BROKEN;
	}
	SSL_free(tls);
	SSL_CTX_free(context);
	ERR_clear_error();
	return rc;
}
