/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/auth/assertion.h"
#include "src/auth/chance.h"
#include "src/auth/source.h"
#include "src/base/loop.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <glib.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "src/base/banned.h"

#define ASSERTION_LIFE_S 600
/* Half of it lies behind us: the authority's clock may be minutes away, either way. */
#define ASSERTION_SKEW_S 300
#define SIGNATURE_BYTES_MAX 1024u /* RSA of 8,192 bits */

struct signer {
	X509 *certificate;
	EVP_PKEY *key;
};

/* Without it OpenSSL would ask for a passphrase on the terminal. */
static int no_passphrase(char *buffer, int size, int writing, void *ctx)
{
	(void)buffer, (void)size, (void)writing, (void)ctx;
	return -1;
}

static FILE *pem_open(const char *path, const char *what, bool secret, struct error *err)
{
	int fd = auth_source_open(path, what, secret, err);
	FILE *file = fd >= 0 ? fdopen(fd, "r") : NULL;

	if (fd >= 0 && !file) {
		error_set(err, ERR_SIGN_IN, "%s: %s: %s", what, path, g_strerror(errno));
		close(fd);
	}
	return file;
}

static int signer_load(struct signer *signer, const struct auth_config *config, struct error *err)
{
	const char *key_path = config->certificate_key ? config->certificate_key : config->certificate;
	FILE *file = pem_open(config->certificate, "certificate", false, err);

	if (!file)
		return ERR_SIGN_IN;
	signer->certificate = PEM_read_X509(file, NULL, no_passphrase, NULL);
	fclose(file);
	if (!signer->certificate)
		return error_set(err, ERR_SIGN_IN, "certificate %s: no PEM certificate in it", config->certificate);
	file = pem_open(key_path, "certificate_key", true, err);
	if (!file)
		return ERR_SIGN_IN;
	signer->key = PEM_read_PrivateKey(file, NULL, no_passphrase, NULL);
	fclose(file);
	if (!signer->key)
		return error_set(
			err, ERR_SIGN_IN, "certificate_key %s: no PEM key without a passphrase in it", key_path);
	if (EVP_PKEY_get_base_id(signer->key) != EVP_PKEY_RSA)
		return error_set(err, ERR_SIGN_IN, "certificate_key %s: isn't an RSA key", key_path);
	if (X509_check_private_key(signer->certificate, signer->key) != 1)
		return error_set(
			err, ERR_SIGN_IN, "certificate_key %s: isn't the key of %s", key_path, config->certificate);
	return 0;
}

static char *json_base64url(cJSON *json)
{
	char *text = cJSON_PrintUnformatted(json);
	char *encoded = auth_base64url(text, strlen(text));

	cJSON_free(text);
	cJSON_Delete(json);
	return encoded;
}

static char *header_encode(const struct auth_config *config, X509 *certificate)
{
	unsigned char digest[SHA256_DIGEST_LENGTH];
	g_autofree char *thumbprint = NULL;
	cJSON *json;

	if (X509_digest(certificate, EVP_sha256(), digest, NULL) != 1)
		return NULL;
	thumbprint = auth_base64url(digest, sizeof(digest));
	json = cJSON_CreateObject();
	cJSON_AddStringToObject(json, "alg", config->assertion_rs256 ? "RS256" : "PS256");
	cJSON_AddStringToObject(json, "typ", "JWT");
	cJSON_AddStringToObject(json, "x5t#S256", thumbprint);
	return json_base64url(json);
}

static char *claims_encode(const struct auth_config *config)
{
	int64_t now = clock_unix();
	g_autofree char *id = g_uuid_string_random();
	cJSON *json = cJSON_CreateObject();

	cJSON_AddStringToObject(json, "aud", config->token_url);
	cJSON_AddStringToObject(json, "iss", config->client_id);
	cJSON_AddStringToObject(json, "sub", config->client_id);
	cJSON_AddStringToObject(json, "jti", id);
	cJSON_AddNumberToObject(json, "nbf", (double)(now - ASSERTION_SKEW_S));
	cJSON_AddNumberToObject(json, "iat", (double)(now - ASSERTION_SKEW_S));
	cJSON_AddNumberToObject(json, "exp", (double)(now - ASSERTION_SKEW_S + ASSERTION_LIFE_S));
	return json_base64url(json);
}

static bool sign(EVP_PKEY *key, bool rs256, const char *text, unsigned char *signature, size_t *length)
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	EVP_PKEY_CTX *options = NULL;
	bool ok = md && EVP_DigestSignInit(md, &options, EVP_sha256(), NULL, key) == 1;

	/* PS256 (RFC 7518 section 3.5): the mask's hash is SHA-256 too, the salt as long as the digest */
	if (ok && !rs256)
		ok = EVP_PKEY_CTX_set_rsa_padding(options, RSA_PKCS1_PSS_PADDING) == 1 &&
		     EVP_PKEY_CTX_set_rsa_mgf1_md(options, EVP_sha256()) == 1 &&
		     EVP_PKEY_CTX_set_rsa_pss_saltlen(options, RSA_PSS_SALTLEN_DIGEST) == 1;
	ok = ok && EVP_DigestSign(md, signature, length, (const unsigned char *)text, strlen(text)) == 1;
	EVP_MD_CTX_free(md);
	return ok;
}

int auth_assertion_new(const struct auth_config *config, struct secret **assertion_out, struct error *err)
{
	unsigned char signature[SIGNATURE_BYTES_MAX];
	size_t length = sizeof(signature);
	struct signer signer = {0};
	int rc = signer_load(&signer, config, err);

	if (rc == 0) {
		g_autofree char *header = header_encode(config, signer.certificate), *claims = claims_encode(config);
		g_autofree char *body = header ? g_strconcat(header, ".", claims, NULL) : NULL;

		if (body && sign(signer.key, config->assertion_rs256, body, signature, &length)) {
			g_autofree char *encoded = auth_base64url(signature, length);

			*assertion_out = secret_new_take(g_strconcat(body, ".", encoded, NULL));
		} else {
			rc = error_set(err, ERR_SIGN_IN, "certificate_key: OpenSSL can't sign with it");
		}
	}
	EVP_PKEY_free(signer.key);
	X509_free(signer.certificate);
	ERR_clear_error();
	return rc;
}
