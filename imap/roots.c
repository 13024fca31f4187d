/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "imap/roots.h"

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

/* The last one asked for: a process has one account. */
static struct {
	pthread_mutex_t lock;
	X509_STORE *store;
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

static X509_STORE *store_read(
	const char *bundle, const char *folder, const char *ca_file, enum roots_problem *problem_out)
{
	X509_STORE *store = X509_STORE_new();
	bool has_system;

	*problem_out = ROOTS_NO_SYSTEM;
	if (!store)
		return NULL;
	has_system = bundle && X509_STORE_load_file(store, bundle);
	/* certificates of a folder are read when a chain needs them */
	has_system |= folder && g_file_test(folder, G_FILE_TEST_IS_DIR) && X509_STORE_load_path(store, folder);
	if (ca_file && !X509_STORE_load_file(store, ca_file)) {
		*problem_out = ROOTS_NO_CA_FILE;
	} else if (has_system || ca_file) {
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

X509_STORE *roots_get(const char *bundle, const char *folder, const char *ca_file, enum roots_problem *problem_out)
{
	struct stamp now[2];
	X509_STORE *store;

	*problem_out = ROOTS_FINE;
	stamp_take(bundle, &now[0]);
	stamp_take(ca_file, &now[1]);
	pthread_mutex_lock(&kept.lock);
	if (!kept.store || g_strcmp0(kept.ca_file, ca_file) != 0 || memcmp(kept.stamps, now, sizeof(now)) != 0) {
		X509_STORE_free(kept.store);
		g_free(kept.ca_file);
		kept.store = store_read(bundle, folder, ca_file, problem_out);
		kept.ca_file = g_strdup(ca_file);
		memcpy(kept.stamps, now, sizeof(now));
	}
	store = kept.store;
	if (store)
		X509_STORE_up_ref(store);
	pthread_mutex_unlock(&kept.lock);
	return store;
}
