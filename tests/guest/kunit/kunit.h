/* SPDX-License-Identifier: GPL-2.0 OR MIT OR Apache-2.0 */
/* What the modules of this directory share: suites as in include/kunit/test.h, of which only the name matters. */

#include <linux/compiler.h>

struct kunit_suite {
	const char name[256];
	/* The lines of its log. */
	const char *log;
};

/* As in Linux 6.0 and later: the section contains an array of pointers to suites. */
#define kunit_test_suites(suites...) \
	static struct kunit_suite *all[] __used __section(".kunit_test_suites") = { suites }

/* Prints a log; `fault` causes a null pointer dereference after it. */
void kunit_run(struct kunit_suite **suites, unsigned int count, bool fault);
