/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The steps of a diagnosis, one after the other, and what they found. */
#pragma once

#include "src/auth/causes.h"
#include "src/cli/command.h"

#include <glib.h>
#include <stdint.h>

enum doctor_state { DOCTOR_FINE, DOCTOR_FAULTY, DOCTOR_SKIPPED };

struct doctor_step {
	const char *name;  /* for programs */
	const char *label; /* for people */
	enum doctor_state state;
	uint64_t ms;
	char *detail;
};
void doctor_step_free(struct doctor_step *step);

struct doctor {
	GPtrArray *steps;  /* struct doctor_step* */
	GPtrArray *causes; /* struct auth_cause*; set by doctor_examine() */
	/* Called as each step ends; may be NULL. */
	void (*ended)(void *ctx, const struct doctor_step *step);
	void *ctx;
};
void doctor_init(struct doctor *doctor);
void doctor_fini(struct doctor *doctor);
/* Adds a step that has ended; takes over `detail`. */
void doctor_step_add(
	struct doctor *doctor, const char *name, const char *label, enum doctor_state state, uint64_t ms, char *detail);

/* All steps of the call's account. 0, or the code that stands for what failed first: everything is in `doctor`. */
int doctor_examine(struct doctor *doctor, const struct call *call);
