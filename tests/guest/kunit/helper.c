// SPDX-License-Identifier: GPL-2.0 OR MIT OR Apache-2.0
/* Depends on KUnit, but has no suites. */
#include <linux/module.h>

#include "kunit.h"

static int __init start(void)
{
	kunit_run(NULL, 0, false);
	return 0;
}
module_init(start);

MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("helpers without suites, for tests/boot/kunit.rs");
