/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The desktop's secret service (org.freedesktop.secrets) as the place of an account's tokens: one item in the default
 * keyring for an account and state directory, known by these two; what is in it is the caller's matter.
 *
 * Blocking, each call for SECRET_SERVICE_MS at most, those that ask a person to unlock the keyring for
 * SECRET_SERVICE_PERSON_MS. ERR_SIGN_IN, with a hint: no session bus, no service, a locked keyring, or no answer.
 * The caller holds the store's lock, which is what makes several calls one change.
 */
#pragma once

#include "src/auth/auth.h"

#define SECRET_SERVICE_MS 10000u
#define SECRET_SERVICE_PERSON_MS 120000u

/* Unlocks the keyring that items go to; a person may be asked. ERR_INTERRUPTED: `cancel_fd` became readable (-1 =
 * none). */
int auth_secret_unlock(int cancel_fd, struct error *err);
/* Nobody is asked. `*text_out` is for secret_free_text(); NULL = there is none. */
int auth_secret_load(const struct auth_config *config, size_t length_max, char **text_out, struct error *err);
/* In one step: whatever happens, the item is the old or the new. */
int auth_secret_save(const struct auth_config *config, const char *text, struct error *err);
/* A person may be asked. What isn't there is forgotten already. */
int auth_secret_forget(const struct auth_config *config, struct error *err);
