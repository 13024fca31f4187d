/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A model of tests' own behind mail.h: folders and messages in memory, bodies that are made from their UID, waits that
 * end, fail, hang or race as the test says. Its "loop" is one thread that ends waits.
 */
#pragma once

#include "src/mail/mail.h"

/* What a call may have to wait for. */
enum fake_wait { FAKE_TREE, FAKE_FOLDER, FAKE_SIZE, FAKE_BODY, FAKE_REFRESH, FAKE_SEARCH, FAKE_WAITS };

#define FAKE_HANGS UINT32_MAX /* until cancelled */

struct fake_options {
	bool trusted;
	bool racy;                     /* waits end within the call that parks, at once, or a little later, by turns */
	bool in_file;                  /* bodies come from a file, else from memory */
	uint32_t disk_ms;              /* each read of message 1 keeps its thread for so long */
	uint32_t delay_ms[FAKE_WAITS]; /* 0: ready without waiting, unless racy */
	int code[FAKE_WAITS];          /* that the wait ends with */
};

struct mail *fake_new(const struct fake_options *options);
void fake_free(struct mail *mail);
/* Before or while it is used. */
void fake_set_delay(struct mail *mail, enum fake_wait wait, uint32_t delay_ms);
void fake_set_code(struct mail *mail, enum fake_wait wait, int code);
unsigned fake_count(struct mail *mail, enum fake_wait wait); /* how many have parked */
unsigned fake_parked(struct mail *mail);                     /* how many are parked now */

unsigned fake_retries(struct mail *mail); /* how often mail_retry_now() was called */

/* Borrowed; lives as long as the model. `number` 1 to 2^30 - 1; its messages' number is that with this bit. */
#define FAKE_MESSAGE_NUMBER (1u << 30)
struct mail_folder *fake_folder_add(
	struct mail *mail, struct mail_folder *parent, const char *name, uint32_t number, uint32_t attributes);
void fake_folder_remove(struct mail *mail, struct mail_folder *folder);
/* Its messages go, and come from then on under another number. */
void fake_folder_reset(struct mail *mail, struct mail_folder *folder, uint32_t message_number);
void fake_emit(struct mail *mail, const struct mail_event *event);
/* `told` is the size that the server tells, `size` the truth. */
void fake_message_add(
	struct mail *mail, struct mail_folder *folder, uint32_t uid, uint64_t size, uint64_t told, bool exact);
/* Its flags become these; it had `\Seen` alone before. */
void fake_message_flag(struct mail *mail, struct mail_folder *folder, uint32_t uid, uint32_t flags);
void fake_message_remove(struct mail *mail, struct mail_folder *folder, uint32_t uid);
/* Its size turns out to be another one. */
void fake_size_learned(struct mail *mail, struct mail_folder *folder, uint32_t uid);
/* Every search finds it, too. */
void fake_found_add(struct mail *mail, struct mail_folder *folder, uint32_t uid);
/* The truth about a body. */
void fake_body(uint32_t uid, uint64_t offset, void *bytes_out, size_t length);
