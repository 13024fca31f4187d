/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Microsoft's AADSTS codes, explained. For hints and for the question whether waiting helps; whether sign-in
 * succeeded is decided by the OAuth `error` word alone, as Microsoft asks.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct auth_aadsts {
	uint32_t code;
	bool transient;      /* goes away by itself */
	const char *meaning; /* what is wrong */
	const char *fix;     /* what to do about it */
};

/* NULL when the code isn't known. */
const struct auth_aadsts *auth_aadsts_find(uint32_t code);
/* The number behind the first "AADSTS" in the text; 0 = none. */
uint32_t auth_aadsts_parse(const char *text);
