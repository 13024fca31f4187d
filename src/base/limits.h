/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Limits shared by more than one module. A module's own limits stand in its public header.
 * Whatever the server sends, memory is the sum of these.
 */
#pragma once

#define LIMIT_FOLDERS 100000u             /* folders of one account */
#define LIMIT_FOLDER_NAME_BYTES 4096u     /* raw name of one folder */
#define LIMIT_FOLDER_DEPTH 128u           /* levels of one folder's path */
#define LIMIT_MESSAGES 8000000u           /* messages of one folder: 100 bytes each in memory */
#define LIMIT_BODY_MEMORY (1024u * 1024u) /* a body up to here is held in memory until stored; larger ones stream */
#define LIMIT_BODY_BYTES (4ull << 30)     /* one message; Exchange allows 150 MB */
#define LIMIT_HEADER_BYTES (64u * 1024u)  /* header fields that a listing asks for, of one message */
