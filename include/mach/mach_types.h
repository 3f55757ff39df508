/* Names for Mach's objects; all of them are ports.  */

#ifndef ACTOR_PAGER_MACH_MACH_TYPES_H
#define ACTOR_PAGER_MACH_MACH_TYPES_H

#include <mach/boolean.h>
#include <mach/port.h>
#include <mach/vm_types.h>

typedef mach_port_t task_t;
typedef mach_port_t vm_task_t;

#endif
