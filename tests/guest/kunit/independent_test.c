// SPDX-License-Identifier: GPL-2.0 OR MIT OR Apache-2.0
/* Suites that call nothing of KUnit, so that the module does not depend on it (lib/test_bits.c). */
#include <linux/module.h>

#include "kunit.h"

static struct kunit_suite independent = { "independent", "" };
kunit_test_suites(&independent);

static int __init start(void)
{
	pr_info("    # Subtest: independent\n    1..1\n    ok 1 - alone\nok 1 - independent\n");
	return 0;
}
module_init(start);

MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("suites of tests/boot/kunit.rs");
