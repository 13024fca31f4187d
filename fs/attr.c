/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fs/attr.h"

#include "fs/node.h"

#include "src/base/banned.h"

#define BLOCK_BYTES 512u
#define IO_BYTES (128u * 1024u) /* what the kernel reads ahead */

static void fill(const struct attr_config *config, uint64_t ino, mode_t type, mode_t mode, struct stat *stat_out)
{
	*stat_out = (struct stat){
		.st_ino = ino,
		.st_mode = type | mode,
		.st_nlink = 1,
		.st_uid = config->uid,
		.st_gid = config->gid,
		.st_blksize = IO_BYTES,
	};
}

static void fill_size(uint64_t size_bytes, struct stat *stat_out)
{
	stat_out->st_size = (off_t)size_bytes;
	stat_out->st_blocks = (blkcnt_t)((size_bytes + BLOCK_BYTES - 1) / BLOCK_BYTES);
}

static void fill_time(const struct timespec *time, struct stat *stat_out)
{
	stat_out->st_mtim = stat_out->st_ctim = stat_out->st_atim = *time;
}

static mode_t mode_for(const struct attr_config *config, mode_t all)
{
	return config->umask ? all & ~config->umask : all & S_IRWXU;
}

void attr_folder(const struct attr_config *config, const struct mail_folder_info *info, struct stat *stat_out)
{
	fill(config, node_folder_ino(info->number), S_IFDIR, mode_for(config, 0555), stat_out);
	/* find(1) takes a directory with two links for one without subdirectories. */
	stat_out->st_nlink = 2 + (nlink_t)info->subfolders;
	fill_time(&(struct timespec){.tv_sec = info->mtime}, stat_out);
}

void attr_maildir_folder(const struct attr_config *config, const struct mail_folder_info *info, struct stat *stat_out)
{
	attr_folder(config, info, stat_out);
	if (!(info->attributes & MAIL_FOLDER_NOSELECT))
		stat_out->st_nlink += NAMES_MAILDIR_PARTS;
}

/* Programs look at the time alone to see whether names have come or changed: that of `new` and `tmp` stands still. */
void attr_maildir_part(const struct attr_config *config, const struct mail_folder_info *info,
	enum names_maildir_part part, struct stat *stat_out)
{
	int64_t time = part == NAMES_MAILDIR_CUR ? info->flags_mtime : 0;

	fill(config, node_maildir_ino(info->number, part), S_IFDIR, mode_for(config, 0555), stat_out);
	stat_out->st_nlink = 2;
	fill_time(&(struct timespec){.tv_sec = time}, stat_out);
}

void attr_message(
	const struct attr_config *config, uint64_t ino, const struct mail_message *message, struct stat *stat_out)
{
	fill(config, ino, S_IFREG, mode_for(config, 0444), stat_out);
	fill_size(message->size_bytes, stat_out);
	fill_time(&(struct timespec){.tv_sec = message->date}, stat_out);
}

void attr_control(const struct attr_config *config, uint64_t ino, mode_t type, uint64_t size_bytes,
	const struct timespec *time, struct stat *stat_out)
{
	/* The trees in it are as open as the folders that they show. */
	fill(config, ino, type, S_ISDIR(type) ? mode_for(config, 0555) : 0400, stat_out);
	stat_out->st_nlink = S_ISDIR(type) ? 2 : 1;
	fill_size(size_bytes, stat_out);
	fill_time(time, stat_out);
}
