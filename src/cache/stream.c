/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Large bodies while they stream in: a file each, laid out as a segment with one body. */
#include "src/cache/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/banned.h"

#define NAME_TRIES 20
#define MEMORY_FILE_BYTES_MAX (128u << 20) /* of a stream, where no disk takes it */

struct cache_stream {
	struct cache *cache;
	struct cache_key key;
	struct record record;
	struct cache_identity identity;
	struct digest *digest;
	int fd;
	char *name; /* NULL = the file has none: it isn't kept */
	uint64_t record_offset, body_offset, length;
	atomic_ullong written;
	bool failed;
};

/* Room is asked for at once, where the file system can tell. */
static bool reserve(int fd, uint64_t offset, uint64_t length)
{
	if (!length || fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)length) == 0)
		return true;
	return errno == EOPNOTSUPP || errno == ENOSYS || errno == EINTR;
}

/* A file under a temporary name, locked: a process that opens the cache doesn't take it for a leftover. */
static int named_file(struct cache *cache, char **name_out)
{
	for (int tries = 0; tries < NAME_TRIES; tries++) {
		g_autofree char *name = g_strdup_printf("tmp-%08x%08x", g_random_int(), g_random_int());
		int fd = openat(cache->dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
		struct stat st;

		if (fd < 0 && errno != EEXIST)
			return -1;
		if (fd < 0)
			continue;
		if (flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &st) == 0 && st.st_nlink == 1) {
			*name_out = g_steal_pointer(&name);
			return fd;
		}
		close(fd);
	}
	errno = EAGAIN;
	return -1;
}

static bool start(struct cache_stream *stream, int fd)
{
	uint64_t offset = 0;

	stream->fd = fd;
	if (fd < 0)
		return false;
	if (!stream->name || append_name(stream->cache, fd, stream->key.folder, &offset)) {
		stream->record_offset = offset;
		stream->body_offset = offset + sizeof(stream->record);
		/* what isn't kept grows as it comes: who only announces gigabytes takes none */
		if (!stream->name || reserve(fd, offset, stream->length + sizeof(stream->record)))
			return true;
	}
	close(fd);
	stream->fd = -1;
	return false;
}

static bool start_in_cache(struct cache_stream *stream)
{
	struct cache *cache = stream->cache;
	int fd;

	if (cache->memory_only)
		return false;
	if (cache->limit_bytes && stream->length + sizeof(stream->record) > cache->limit_bytes)
		return start(stream, openat(cache->dir_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
	fd = named_file(cache, &stream->name);
	if (start(stream, fd))
		return true;
	if (stream->name)
		unlinkat(cache->dir_fd, stream->name, 0);
	g_clear_pointer(&stream->name, g_free);
	return false;
}

int cache_stream_open(struct cache *cache, const struct cache_key *key, uint64_t length,
	struct cache_stream **stream_out, struct error *err)
{
	struct cache_stream *stream = g_new0(struct cache_stream, 1);
	int code;

	stream->cache = cache;
	stream->key = *key;
	stream->length = length;
	record_init(&stream->record, key, 0, length);
	/* where the cache has no room, mail is read all the same, without being kept */
	if (start_in_cache(stream) || start(stream, open(g_get_tmp_dir(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600)) ||
		(length <= MEMORY_FILE_BYTES_MAX && start(stream, memfd_create("mailtree", MFD_CLOEXEC)))) {
		stream->digest = digest_new(&stream->record);
		*stream_out = stream;
		return 0;
	}
	code = error_set(err, ERR_STORAGE, "no room for a message of %" G_GUINT64_FORMAT " bytes: %s", length,
		g_strerror(errno));
	g_free(stream);
	return code;
}

int cache_stream_write(struct cache_stream *stream, const void *bytes, size_t length, struct error *err)
{
	uint64_t written = atomic_load_explicit(&stream->written, memory_order_relaxed);

	if (stream->failed || length > stream->length - written) {
		stream->failed = true;
		return error_set(err, ERR_STORAGE, "a message is longer than announced");
	}
	if (!io_write(stream->fd, bytes, length, stream->body_offset + written)) {
		stream->failed = true;
		return error_set(err, ERR_STORAGE, "%s: %s", stream->cache->path, g_strerror(errno));
	}
	digest_add(stream->digest, bytes, length);
	atomic_store_explicit(&stream->written, written + length, memory_order_release);
	return 0;
}

ssize_t cache_stream_read(struct cache_stream *stream, uint64_t offset, void *buffer, size_t size, struct error *err)
{
	uint64_t written = atomic_load_explicit(&stream->written, memory_order_acquire);

	if (offset >= written)
		return 0;
	size = (size_t)MIN(MIN(size, written - offset), (uint64_t)SSIZE_MAX);
	if (!io_read(stream->fd, buffer, size, stream->body_offset + offset))
		return error_set(err, ERR_STORAGE, "%s: %s", stream->cache->path, g_strerror(errno));
	return (ssize_t)size;
}

static void stream_free(struct cache_stream *stream)
{
	if (stream->name)
		unlinkat(stream->cache->dir_fd, stream->name, 0);
	if (stream->fd >= 0)
		close(stream->fd);
	digest_free(stream->digest);
	g_free(stream->name);
	g_free(stream);
}

/* Hands the file to the writer. */
static void keep(struct cache_stream *stream, struct cache_body *body)
{
	struct cache *cache = stream->cache;
	struct op *op = op_new(OP_STREAMED);

	op->key = stream->key;
	op->identity = stream->identity;
	op->body = cache_body_ref(body);
	op->offset = stream->record_offset;
	op->file_bytes = stream->body_offset + stream->length;
	op->file_fd = fcntl(body->segment->fd, F_DUPFD_CLOEXEC, 0);
	op->file_name = g_steal_pointer(&stream->name);
	pthread_mutex_lock(&cache->lock);
	if (g_hash_table_contains(cache->pending, &op->key))
		queue_append(cache, op); /* the first stays visible */
	else
		queue_body(cache, op);
	pthread_mutex_unlock(&cache->lock);
}

void cache_stream_identify(struct cache_stream *stream, const struct cache_identity *identity)
{
	stream->identity = *identity;
}

int cache_stream_commit(struct cache_stream *stream, struct cache_body **body_out, struct error *err)
{
	struct cache *cache = stream->cache;
	struct cache_body *body;
	uint8_t sum[32];
	bool summed;

	if (stream->failed || atomic_load(&stream->written) != stream->length) {
		stream_free(stream);
		return error_set(err, ERR_STORAGE, "a message didn't come whole");
	}
	summed = digest_end(g_steal_pointer(&stream->digest), sum);
	record_seal(&stream->record, sum);
	if (!summed || !io_write(stream->fd, &stream->record, sizeof(stream->record), stream->record_offset)) {
		int code = error_set(err, ERR_STORAGE, "%s: %s", cache->path, g_strerror(errno));

		stream_free(stream);
		return code;
	}
	body = body_from_file(segment_new(stream->fd, 0), stream->body_offset, stream->length);
	stream->fd = -1;
	if (stream->name) {
		keep(stream, body);
	} else if (cache->memory_only) {
		pthread_mutex_lock(&cache->lock);
		memory_put(cache, &stream->key, body);
		pthread_mutex_unlock(&cache->lock);
	}
	stream_free(stream);
	*body_out = body;
	return 0;
}

void cache_stream_abort(struct cache_stream *stream)
{
	if (stream)
		stream_free(stream);
}
