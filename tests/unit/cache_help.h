/* SPDX-License-Identifier: GPL-2.0-or-later */
/* For the tests of the cache: a directory of their own, and bodies that follow from their key. */
#pragma once

#include "src/cache/cache.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/effort.h"

static inline char *help_dir_new(void)
{
	char *dir = g_dir_make_tmp("mailtree-cache-XXXXXX", NULL);

	assert_non_null(dir);
	return dir;
}

static inline void help_remove(const char *path)
{
	DIR *listing = opendir(path);
	struct dirent *entry;

	while (listing && (entry = readdir(listing))) {
		g_autofree char *child = g_build_filename(path, entry->d_name, NULL);

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (unlink(child) != 0)
			help_remove(child);
	}
	if (listing)
		closedir(listing);
	rmdir(path);
}

static inline void help_dir_free(char *dir)
{
	help_remove(dir);
	g_free(dir);
}

static inline struct cache *help_open(const char *dir, uint64_t limit_bytes)
{
	struct cache *cache = NULL;
	struct error err;

	assert_int_equal(cache_open(dir, "imap.example.org", 993, "user", limit_bytes, &cache, &err), 0);
	return cache;
}

/* 0 to 20,000 octets where `length` is SIZE_MAX. */
static inline GBytes *help_bytes(const struct cache_key *key, size_t length)
{
	uint64_t seed = (uint64_t)key->folder << 40 ^ (uint64_t)key->uidvalidity << 20 ^ key->uid ^
	                (uint64_t)key->lf << 60;
	uint8_t *bytes;

	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	if (length == SIZE_MAX)
		length = (size_t)(seed >> 33) % 20000;
	bytes = g_malloc(length + 8);
	for (size_t i = 0; i < length; i += 8) {
		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		memcpy(bytes + i, &seed, 8);
	}
	return g_bytes_new_take(bytes, length);
}

static inline void help_put_sized(struct cache *cache, const struct cache_key *key, size_t length)
{
	GBytes *bytes = help_bytes(key, length);

	cache_body_unref(cache_body_put(cache, key, bytes));
	g_bytes_unref(bytes);
}

static inline void help_put(struct cache *cache, const struct cache_key *key)
{
	help_put_sized(cache, key, SIZE_MAX);
}

static inline bool help_body_is(const struct cache_key *key, struct cache_body *body, size_t length)
{
	GBytes *bytes = help_bytes(key, length);
	size_t wanted;
	const void *expected = g_bytes_get_data(bytes, &wanted);
	g_autofree char *got = g_malloc(wanted + 1);
	struct error err;
	bool same = cache_body_length(body) == wanted &&
	            cache_body_read(body, 0, got, wanted + 1, &err) == (ssize_t)wanted &&
	            (!wanted || memcmp(got, expected, wanted) == 0);

	g_bytes_unref(bytes);
	return same;
}

static inline void help_expect_body_sized(const struct cache_key *key, struct cache_body *body, size_t length)
{
	assert_true(help_body_is(key, body, length));
}

static inline void help_expect_body(const struct cache_key *key, struct cache_body *body)
{
	help_expect_body_sized(key, body, SIZE_MAX);
}

static inline void help_expect_sized(struct cache *cache, const struct cache_key *key, size_t length)
{
	struct cache_body *body = NULL;
	struct error err;

	assert_int_equal(cache_body_get(cache, key, &body, &err), 1);
	help_expect_body_sized(key, body, length);
	cache_body_unref(body);
}

static inline void help_expect(struct cache *cache, const struct cache_key *key)
{
	help_expect_sized(cache, key, SIZE_MAX);
}

typedef void (*help_file_fn)(const char *path, const struct stat *st, uint64_t *sum);

static inline uint64_t help_each_file(const struct cache *cache, const char *prefix, help_file_fn fn)
{
	DIR *listing = opendir(cache_path(cache));
	struct dirent *entry;
	uint64_t sum = 0;

	assert_non_null(listing);
	while ((entry = readdir(listing))) {
		g_autofree char *path = g_build_filename(cache_path(cache), entry->d_name, NULL);
		struct stat st;

		if (entry->d_name[0] != '.' && g_str_has_prefix(entry->d_name, prefix) && lstat(path, &st) == 0)
			fn(path, &st, &sum);
	}
	closedir(listing);
	return sum;
}

static inline void help_count(const char *path, const struct stat *st, uint64_t *sum)
{
	++*sum;
}

static inline void help_add_size(const char *path, const struct stat *st, uint64_t *sum)
{
	*sum += (uint64_t)st->st_size;
}

static inline void help_count_loose(const char *path, const struct stat *st, uint64_t *sum)
{
	*sum += (st->st_mode & 0777) != 0600;
}

static inline uint64_t help_files(const struct cache *cache, const char *prefix)
{
	return help_each_file(cache, prefix, help_count);
}

static inline uint64_t help_bytes_on_disk(const struct cache *cache)
{
	return help_each_file(cache, "seg-", help_add_size);
}

/* Files that others could read. */
static inline uint64_t help_loose_files(const struct cache *cache)
{
	return help_each_file(cache, "", help_count_loose);
}
