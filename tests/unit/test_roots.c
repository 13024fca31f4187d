/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The certificates that servers are checked against: which chains hold, with a TLS handshake in memory. */
#include "src/base/roots.h"

#include <glib.h>
#include <glib/gstdio.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "src/base/banned.h"

#define DAY_S 86400

struct party {
	EVP_PKEY *key;
	X509 *certificate;
};

static struct {
	char *folder;
	struct party root, twin, stranger; /* authorities; the twin has the root's name and another key */
	struct party middle, old_middle;   /* the root's; the old one has expired */
	struct party server, old_server;   /* of these two */
	struct party client;               /* the middle's, good for clients only */
} world;

/* ---- certificates ---- */

static void extend(X509 *certificate, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *extension;

	X509V3_set_ctx(&ctx, issuer, certificate, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	assert_non_null(extension);
	X509_add_ext(certificate, extension, -1);
	X509_EXTENSION_free(extension);
}

static struct party party_for(
	const char *name, const struct party *issuer, bool is_authority, long days, const char *usage)
{
	struct party party = {EVP_EC_gen("P-256"), X509_new()};
	X509 *certificate = party.certificate;
	const struct party *by = issuer ? issuer : &party;
	static long serial;

	assert_non_null(party.key);
	X509_set_version(certificate, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(certificate), ++serial);
	X509_gmtime_adj(X509_getm_notBefore(certificate), -30 * DAY_S);
	X509_gmtime_adj(X509_getm_notAfter(certificate), days * DAY_S);
	X509_NAME_add_entry_by_txt(
		X509_get_subject_name(certificate), "CN", MBSTRING_UTF8, (const unsigned char *)name, -1, -1, 0);
	X509_set_issuer_name(certificate, X509_get_subject_name(by->certificate));
	X509_set_pubkey(certificate, party.key);
	extend(certificate, by->certificate, NID_basic_constraints, is_authority ? "critical,CA:TRUE" : "CA:FALSE");
	extend(certificate, by->certificate, NID_subject_key_identifier, "hash");
	extend(certificate, by->certificate, NID_authority_key_identifier, "keyid:always");
	if (usage)
		extend(certificate, by->certificate, NID_ext_key_usage, usage);
	assert_true(X509_sign(certificate, by->key, EVP_sha256()) > 0);
	return party;
}

static struct party party_new(const char *name, const struct party *issuer, bool is_authority, long days)
{
	return party_for(name, issuer, is_authority, days, NULL);
}

static void party_fini(struct party *party)
{
	EVP_PKEY_free(party->key);
	X509_free(party->certificate);
}

/* ---- where they are kept ---- */

static char *in_world(const char *name)
{
	return g_build_filename(world.folder, name, NULL);
}

/* A bundle of these, ended by NULL; to be freed. */
static char *bundle_of(const char *name, const struct party *first, ...)
{
	char *path = in_world(name);
	FILE *file = fopen(path, "w");
	va_list more;

	assert_non_null(file);
	va_start(more, first);
	for (const struct party *party = first; party; party = va_arg(more, const struct party *))
		PEM_write_X509(file, party->certificate);
	va_end(more);
	fclose(file);
	return path;
}

/* A folder with this one by its hashed name, or with none; to be freed. */
static char *folder_of(const char *name, const struct party *party)
{
	char *path = in_world(name), *hashed;

	g_mkdir(path, 0700);
	if (party) {
		hashed = g_strdup_printf("%s/%08lx.0", name,
			X509_NAME_hash_ex(X509_get_subject_name(party->certificate), NULL, NULL, NULL));
		g_free(bundle_of(hashed, party, NULL));
		g_free(hashed);
	}
	return path;
}

/* ---- a handshake ---- */

static void shake(SSL *client, SSL *server)
{
	BIO *ours, *theirs;

	BIO_new_bio_pair(&ours, 0, &theirs, 0);
	SSL_set_bio(client, ours, ours);
	SSL_set_bio(server, theirs, theirs);
	SSL_set_connect_state(client);
	SSL_set_accept_state(server);
	for (int turn = 0; turn < 10; turn++) {
		SSL_do_handshake(client);
		SSL_do_handshake(server);
	}
}

/* What the check of this server came to: X509_V_OK, or why not. */
static long check_of(const struct roots_places *places, const struct party *server, const struct party *middle)
{
	SSL_CTX *ours = SSL_CTX_new(TLS_client_method()), *theirs = SSL_CTX_new(TLS_server_method());
	SSL *client, *peer;
	long verdict;

	SSL_CTX_set_verify(ours, SSL_VERIFY_PEER, NULL);
	assert_int_equal(roots_use(ours, places), ROOTS_FINE);
	SSL_CTX_use_certificate(theirs, server->certificate);
	SSL_CTX_use_PrivateKey(theirs, server->key);
	SSL_CTX_add1_chain_cert(theirs, middle->certificate);
	client = SSL_new(ours);
	peer = SSL_new(theirs);
	shake(client, peer);
	verdict = SSL_get_verify_result(client);
	/* the connection is what the verdict says, and its chain ends at a root */
	assert_int_equal(SSL_is_init_finished(client) != 0, verdict == X509_V_OK);
	if (verdict == X509_V_OK)
		assert_int_equal(sk_X509_num(SSL_get0_verified_chain(client)), 3);
	SSL_free(client);
	SSL_free(peer);
	SSL_CTX_free(ours);
	SSL_CTX_free(theirs);
	return verdict;
}

static long check(const struct roots_places *places)
{
	return check_of(places, &world.server, &world.middle);
}

/* ---- tests ---- */

static void bundle_alone(void **unused)
{
	g_autofree char *good = bundle_of("good", &world.stranger, &world.root, NULL);
	g_autofree char *bad = bundle_of("bad", &world.stranger, NULL);
	g_autofree char *nowhere = in_world("nowhere");

	assert_int_equal(check(&(struct roots_places){.bundle = good}), X509_V_OK);
	assert_int_equal(check(&(struct roots_places){.bundle = good, .folder = nowhere}), X509_V_OK);
	assert_int_equal(check(&(struct roots_places){.bundle = bad}), X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY);
}

static void folder_does_without_the_bundle(void **unused)
{
	g_autofree char *folder = folder_of("folder", &world.root);
	g_autofree char *nowhere = in_world("nowhere");

	assert_int_equal(check(&(struct roots_places){.folder = folder}), X509_V_OK);
	assert_int_equal(check(&(struct roots_places){.bundle = nowhere, .folder = folder}), X509_V_OK);
}

static void what_the_folder_lacks_is_in_the_bundle(void **unused)
{
	g_autofree char *empty = folder_of("empty", NULL);
	g_autofree char *of_twin = folder_of("of_twin", &world.twin);
	g_autofree char *good = bundle_of("good", &world.stranger, &world.root, NULL);
	g_autofree char *bad = bundle_of("bad", &world.stranger, NULL);

	assert_int_equal(check(&(struct roots_places){.bundle = bad, .folder = empty}),
		X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY);
	for (int round = 0; round < 2; round++)
		assert_int_equal(check(&(struct roots_places){.bundle = good, .folder = empty}), X509_V_OK);
	/* an authority with new keys: the old one is found first */
	for (int round = 0; round < 2; round++)
		assert_int_equal(check(&(struct roots_places){.bundle = good, .folder = of_twin}), X509_V_OK);
}

static void what_is_wrong_stays_wrong(void **unused)
{
	g_autofree char *folder = folder_of("folder", &world.root);
	g_autofree char *good = bundle_of("good", &world.root, NULL);
	g_autofree char *empty = folder_of("empty", NULL);

	/* what the second look finds in the bundle must be good for a server, too */
	for (int round = 0; round < 2; round++)
		assert_int_equal(
			check_of(&(struct roots_places){.bundle = good, .folder = empty}, &world.client, &world.middle),
			X509_V_ERR_INVALID_PURPOSE);
	for (int round = 0; round < 2; round++) {
		assert_int_equal(check_of(&(struct roots_places){.bundle = good, .folder = folder}, &world.old_server,
					 &world.old_middle),
			X509_V_ERR_CERT_HAS_EXPIRED);
		assert_int_equal(check_of(&(struct roots_places){.bundle = good, .folder = folder}, &world.stranger,
					 &world.middle),
			X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT);
	}
}

static void a_ca_file_adds_to_the_systems(void **unused)
{
	g_autofree char *folder = folder_of("folder", &world.root);
	g_autofree char *empty = folder_of("empty", NULL);
	g_autofree char *good = bundle_of("good", &world.root, NULL);
	g_autofree char *bad = bundle_of("bad", &world.stranger, NULL);
	g_autofree char *twin = bundle_of("twin", &world.twin, NULL);

	assert_int_equal(check(&(struct roots_places){.ca_file = good}), X509_V_OK);
	assert_int_equal(check(&(struct roots_places){.bundle = bad, .folder = empty, .ca_file = good}), X509_V_OK);
	assert_int_equal(check(&(struct roots_places){.bundle = good, .folder = empty, .ca_file = bad}), X509_V_OK);
	assert_int_equal(check(&(struct roots_places){.folder = folder, .ca_file = bad}), X509_V_OK);
	/* of the name that a root of the system has */
	assert_int_equal(check(&(struct roots_places){.bundle = good, .folder = folder, .ca_file = twin}), X509_V_OK);
}

static void files_that_change_are_read_again(void **unused)
{
	g_autofree char *empty = folder_of("empty", NULL);
	g_autofree char *bundle = bundle_of("bundle", &world.stranger, NULL);
	struct roots_places places = {.bundle = bundle, .folder = empty};

	assert_int_equal(check(&places), X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY);
	g_unlink(bundle);
	g_free(bundle_of("bundle", &world.stranger, &world.root, NULL));
	assert_int_equal(check(&places), X509_V_OK);
	g_unlink(bundle);
	g_free(bundle_of("bundle", &world.stranger, NULL));
	assert_int_equal(check(&places), X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY);
}

static void what_cant_be_read(void **unused)
{
	SSL_CTX *tls = SSL_CTX_new(TLS_client_method());
	g_autofree char *folder = folder_of("folder", &world.root);
	g_autofree char *nowhere = in_world("nowhere");

	assert_int_equal(roots_use(tls, &(struct roots_places){NULL}), ROOTS_NO_SYSTEM);
	assert_int_equal(roots_use(tls, &(struct roots_places){.bundle = nowhere, .folder = nowhere}), ROOTS_NO_SYSTEM);
	assert_int_equal(
		roots_use(tls, &(struct roots_places){.folder = folder, .ca_file = nowhere}), ROOTS_NO_CA_FILE);
	roots_read_ahead(&(struct roots_places){.folder = folder, .ca_file = nowhere});
	assert_int_equal(roots_use(tls, &(struct roots_places){.folder = folder}), ROOTS_FINE);
	SSL_CTX_free(tls);
}

static int world_begin(void **unused)
{
	world.folder = g_dir_make_tmp("test-roots-XXXXXX", NULL);
	world.root = party_new("root", NULL, true, 30);
	world.twin = party_new("root", NULL, true, 30);
	world.stranger = party_new("stranger", NULL, true, 30);
	world.middle = party_new("middle", &world.root, true, 30);
	world.old_middle = party_new("old middle", &world.root, true, -1);
	world.server = party_new("server", &world.middle, false, 30);
	world.old_server = party_new("old server", &world.old_middle, false, 30);
	world.client = party_for("client", &world.middle, false, 30, "clientAuth");
	return world.folder ? 0 : -1;
}

static int world_end(void **unused)
{
	struct party *all[] = {&world.root, &world.twin, &world.stranger, &world.middle, &world.old_middle,
		&world.server, &world.old_server, &world.client};
	g_autofree char *command = g_strdup_printf("rm -r '%s'", world.folder);

	for (size_t i = 0; i < G_N_ELEMENTS(all); i++)
		party_fini(all[i]);
	g_free(world.folder);
	return g_spawn_command_line_sync(command, NULL, NULL, NULL, NULL) ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bundle_alone),
		cmocka_unit_test(folder_does_without_the_bundle),
		cmocka_unit_test(what_the_folder_lacks_is_in_the_bundle),
		cmocka_unit_test(what_is_wrong_stays_wrong),
		cmocka_unit_test(a_ca_file_adds_to_the_systems),
		cmocka_unit_test(files_that_change_are_read_again),
		cmocka_unit_test(what_cant_be_read),
	};

	return cmocka_run_group_tests(tests, world_begin, world_end);
}
