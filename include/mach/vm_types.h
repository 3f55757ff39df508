/* Integers that hold addresses, offsets and sizes.  */

#ifndef ACTOR_PAGER_MACH_VM_TYPES_H
#define ACTOR_PAGER_MACH_VM_TYPES_H

#include <stdint.h>

typedef int integer_t;
typedef unsigned int natural_t;

typedef uintptr_t vm_offset_t;
typedef uintptr_t vm_address_t;
typedef uintptr_t vm_size_t;

#endif
