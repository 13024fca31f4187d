/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Records of a segment: header, digest, whole reads and writes. */
#include "src/cache/internal.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "src/base/banned.h"

#define CHECK_BYTES (256u * 1024u)

struct digest {
	EVP_MD_CTX *context;
	bool failed;
};

static void digest_update(struct digest *digest, const void *bytes, size_t length)
{
	if (!digest->failed && EVP_DigestUpdate(digest->context, bytes, length) != 1)
		digest->failed = true;
}

struct digest *digest_new(const struct record *record)
{
	struct digest *digest = g_new0(struct digest, 1);

	digest->context = EVP_MD_CTX_new();
	digest->failed = !digest->context || EVP_DigestInit_ex(digest->context, EVP_sha256(), NULL) != 1;
	digest_update(digest, &record->version, offsetof(struct record, digest) - offsetof(struct record, version));
	return digest;
}

void digest_add(struct digest *digest, const void *bytes, size_t length)
{
	digest_update(digest, bytes, length);
}

bool digest_end(struct digest *digest, uint8_t out[32])
{
	bool made = !digest->failed && EVP_DigestFinal_ex(digest->context, out, NULL) == 1;

	if (!made)
		memset(out, 0, 32);
	digest_free(digest);
	return made;
}

void digest_free(struct digest *digest)
{
	if (!digest)
		return;
	EVP_MD_CTX_free(digest->context);
	g_free(digest);
}

/* FNV-1a: against torn and stray headers; the octets have the digest. */
static uint32_t checksum(const struct record *record)
{
	const uint8_t *at = (const uint8_t *)&record->version;
	const uint8_t *end = (const uint8_t *)(record + 1);
	uint32_t hash = 2166136261u;

	while (at < end)
		hash = (hash ^ *at++) * 16777619u;
	return hash;
}

uint16_t record_flags_of(const struct cache_key *key)
{
	return (uint16_t)((key->lf ? RECORD_LF : 0) | key->view << RECORD_VIEW_SHIFT);
}

void record_init(struct record *record, const struct cache_key *key, uint16_t flags, uint64_t length)
{
	*record = (struct record){
		.magic = GUINT32_TO_LE(RECORD_MAGIC),
		.version = GUINT16_TO_LE(RECORD_VERSION),
		.flags = GUINT16_TO_LE((uint16_t)(flags | record_flags_of(key))),
		.folder = GUINT32_TO_LE(key->folder),
		.uidvalidity = GUINT32_TO_LE(key->uidvalidity),
		.uid = GUINT32_TO_LE(key->uid),
		.length = GUINT64_TO_LE(length),
	};
}

void record_seal(struct record *record, const uint8_t digest[32])
{
	memcpy(record->digest, digest, sizeof(record->digest));
	record->checksum = GUINT32_TO_LE(checksum(record));
}

bool record_valid(const struct record *record)
{
	uint32_t magic = GUINT32_FROM_LE(record->magic);

	return (magic == RECORD_MAGIC || magic == RECORD_MAGIC_DEAD) &&
	       GUINT16_FROM_LE(record->version) == RECORD_VERSION &&
	       GUINT32_FROM_LE(record->checksum) == checksum(record);
}

bool record_is(const struct record *record, const struct cache_key *key, uint64_t length)
{
	return record_valid(record) && GUINT32_FROM_LE(record->magic) == RECORD_MAGIC &&
	       GUINT16_FROM_LE(record->flags) == record_flags_of(key) &&
	       GUINT32_FROM_LE(record->folder) == key->folder &&
	       GUINT32_FROM_LE(record->uidvalidity) == key->uidvalidity && GUINT32_FROM_LE(record->uid) == key->uid &&
	       GUINT64_FROM_LE(record->length) == length;
}

bool record_digest_matches(int fd, uint64_t offset, const struct record *record)
{
	struct digest *digest = digest_new(record);
	uint64_t left = GUINT64_FROM_LE(record->length);
	size_t size = (size_t)MIN(left, CHECK_BYTES);
	g_autofree char *buffer = g_malloc(size + 1);
	uint8_t found[32];

	offset += sizeof(*record);
	while (left) {
		size_t part = (size_t)MIN(left, size);

		if (!io_read(fd, buffer, part, offset)) {
			digest_free(digest);
			return false;
		}
		digest_add(digest, buffer, part);
		offset += part;
		left -= part;
	}
	return digest_end(digest, found) && memcmp(found, record->digest, sizeof(found)) == 0;
}

void record_kill(int fd, uint64_t offset)
{
	uint32_t magic = GUINT32_TO_LE(RECORD_MAGIC_DEAD);
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}};
	struct record record;
	struct stat st;

	/* an index that lies must not make us write into the middle of a body */
	if (!io_read(fd, &record, sizeof(record), offset) || !record_valid(&record) || fstat(fd, &st) != 0)
		return;
	times[1] = st.st_mtim;
	/* the other bodies are as trustworthy as they were: the segment's stamp stays */
	if (io_write(fd, &magic, sizeof(magic), offset))
		(void)futimens(fd, times);
}

bool io_read(int fd, void *buffer, size_t size, uint64_t offset)
{
	char *at = buffer;

	while (size) {
		ssize_t got = pread(fd, at, size, (off_t)offset);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			if (got == 0)
				errno = EIO;
			return false;
		}
		at += got;
		offset += (uint64_t)got;
		size -= (size_t)got;
	}
	return true;
}

bool io_write(int fd, const void *buffer, size_t size, uint64_t offset)
{
	const char *at = buffer;

	while (size) {
		ssize_t put = pwrite(fd, at, size, (off_t)offset);

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0) {
			if (put == 0)
				errno = EIO;
			return false;
		}
		at += put;
		offset += (uint64_t)put;
		size -= (size_t)put;
	}
	return true;
}
