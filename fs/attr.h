/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What stat says of each kind of node. Pure. */
#pragma once

#include "fs/names.h"
#include "src/mail/mail.h"

#include <stdint.h>
#include <sys/stat.h>

struct attr_config {
	uid_t uid;
	gid_t gid;
	/* 0: everything is the owner's alone. Else it is taken off 0444 and 0555, as users of other mounts expect. */
	mode_t umask;
};

void attr_folder(const struct attr_config *config, const struct mail_folder_info *info, struct stat *stat_out);
/* With layout=maildir: `info->subfolders` and three. */
void attr_maildir_folder(const struct attr_config *config, const struct mail_folder_info *info, struct stat *stat_out);
void attr_maildir_part(const struct attr_config *config, const struct mail_folder_info *info,
	enum names_maildir_part part, struct stat *stat_out);
void attr_message(
	const struct attr_config *config, uint64_t ino, const struct mail_message *message, struct stat *stat_out);
/* A file is the owner's alone whatever the umask. */
void attr_control(const struct attr_config *config, uint64_t ino, mode_t type, uint64_t size_bytes,
	const struct timespec *time, struct stat *stat_out);
