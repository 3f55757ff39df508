/* What programs expect of <hurd.h>: the type of errors, which are errno values.  */

#ifndef ACTOR_PAGER_HURD_H
#define ACTOR_PAGER_HURD_H

#include <errno.h>
#include <mach.h>

#ifndef __error_t_defined
typedef int error_t;
#define __error_t_defined 1
#endif

#endif
