/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/base/roots.h"

#include <glib.h>
#include <openssl/err.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "src/base/banned.h"

/* What a file was when it was read. */
struct stamp {
	dev_t device;
	ino_t inode;
	off_t size;
	struct timespec changed;
};

/* The last ones asked for: a process has one account. */
static struct {
	pthread_mutex_t lock;
	X509_STORE *store;
	char *bundle; /* still to be read; NULL: it was, or there is none */
	char *ca_file;
	struct stamp stamps[2];
} kept = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void stamp_take(const char *path, struct stamp *stamp_out)
{
	struct stat st;

	memset(stamp_out, 0, sizeof(*stamp_out));
	if (!path || stat(path, &st) != 0)
		return;
	stamp_out->device = st.st_dev;
	stamp_out->inode = st.st_ino;
	stamp_out->size = st.st_size;
	stamp_out->changed = st.st_ctim;
}

/* Where there is a folder, the bundle is left for later. */
static X509_STORE *store_read(const struct roots_places *places, bool *has_rest_out, enum roots_problem *problem_out)
{
	X509_STORE *store = X509_STORE_new();
	bool has_system;

	*problem_out = ROOTS_NO_SYSTEM;
	if (!store)
		return NULL;
	has_system = places->folder && g_file_test(places->folder, G_FILE_TEST_IS_DIR) &&
	             X509_STORE_load_path(store, places->folder);
	*has_rest_out = has_system && places->bundle;
	if (!has_system)
		has_system = places->bundle && X509_STORE_load_file(store, places->bundle);
	if (places->ca_file && !X509_STORE_load_file(store, places->ca_file)) {
		*problem_out = ROOTS_NO_CA_FILE;
	} else if (has_system || places->ca_file) {
		/* as libcurl sets them: what the user trusts needn't be self-signed */
		X509_STORE_set_flags(store, X509_V_FLAG_TRUSTED_FIRST | X509_V_FLAG_PARTIAL_CHAIN);
		*problem_out = ROOTS_FINE;
	}
	ERR_clear_error();
	if (*problem_out == ROOTS_FINE)
		return store;
	X509_STORE_free(store);
	return NULL;
}

static X509_STORE *store_get(const struct roots_places *places, enum roots_problem *problem_out)
{
	struct stamp now[2];
	X509_STORE *store;

	*problem_out = ROOTS_FINE;
	stamp_take(places->bundle, &now[0]);
	stamp_take(places->ca_file, &now[1]);
	pthread_mutex_lock(&kept.lock);
	if (!kept.store || g_strcmp0(kept.ca_file, places->ca_file) != 0 ||
		memcmp(kept.stamps, now, sizeof(now)) != 0) {
		bool has_rest = false;

		X509_STORE_free(kept.store);
		g_free(kept.ca_file);
		g_free(kept.bundle);
		kept.store = store_read(places, &has_rest, problem_out);
		kept.bundle = has_rest ? g_strdup(places->bundle) : NULL;
		kept.ca_file = g_strdup(places->ca_file);
		memcpy(kept.stamps, now, sizeof(now));
	}
	store = kept.store;
	if (store)
		X509_STORE_up_ref(store);
	pthread_mutex_unlock(&kept.lock);
	return store;
}

static bool has_rest(const X509_STORE *store)
{
	bool has;

	pthread_mutex_lock(&kept.lock);
	has = store == kept.store && kept.bundle;
	pthread_mutex_unlock(&kept.lock);
	return has;
}

static void rest_read(X509_STORE *store)
{
	pthread_mutex_lock(&kept.lock);
	if (store == kept.store && kept.bundle) {
		X509_STORE_load_file(store, kept.bundle);
		ERR_clear_error();
		g_clear_pointer(&kept.bundle, g_free);
	}
	pthread_mutex_unlock(&kept.lock);
}

/* Verifies once more what `ctx` was to verify, and leaves there what came of it. */
static int verify_again(X509_STORE_CTX *ctx)
{
	X509_STORE_CTX *again = X509_STORE_CTX_new();
	int ok = 0;

	if (again &&
		X509_STORE_CTX_init(again, X509_STORE_CTX_get0_store(ctx), X509_STORE_CTX_get0_cert(ctx),
			X509_STORE_CTX_get0_untrusted(ctx)) &&
		X509_VERIFY_PARAM_set1(X509_STORE_CTX_get0_param(again), X509_STORE_CTX_get0_param(ctx))) {
		ok = X509_verify_cert(again);
		X509_STORE_CTX_set_error(ctx, X509_STORE_CTX_get_error(again));
		X509_STORE_CTX_set_error_depth(ctx, X509_STORE_CTX_get_error_depth(again));
		X509_STORE_CTX_set0_verified_chain(ctx, X509_STORE_CTX_get1_chain(again));
	}
	X509_STORE_CTX_free(again);
	return ok;
}

static int verify(X509_STORE_CTX *ctx, void *unused)
{
	X509_STORE *store = X509_STORE_CTX_get0_store(ctx);
	bool had_rest = has_rest(store);
	int ok = X509_verify_cert(ctx);

	(void)unused;
	if (ok > 0 || !had_rest)
		return ok;
	rest_read(store);
	return verify_again(ctx);
}

enum roots_problem roots_use(SSL_CTX *tls, const struct roots_places *places)
{
	enum roots_problem problem;
	X509_STORE *store = store_get(places, &problem);

	if (!store)
		return problem;
	SSL_CTX_set_cert_store(tls, store);
	SSL_CTX_set_cert_verify_callback(tls, verify, NULL);
	return ROOTS_FINE;
}

void roots_read_ahead(const struct roots_places *places)
{
	enum roots_problem ignored;

	X509_STORE_free(store_get(places, &ignored));
}
