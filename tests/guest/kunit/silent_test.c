// SPDX-License-Identifier: GPL-2.0 OR MIT OR Apache-2.0
#include <linux/kernel.h>
#include <linux/module.h>

#include "kunit.h"

static struct kunit_suite silent = { "silent", "" };
kunit_test_suites(&silent);

static int __init start(void)
{
	kunit_run(all, ARRAY_SIZE(all), false);
	return 0;
}
module_init(start);

MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("suites of tests/boot/kunit.rs");
